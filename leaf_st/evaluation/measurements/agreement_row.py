"""A row of the measurement ``agreement``."""

from dataclasses import dataclass
from typing import Literal

from leaf_st.evaluation.modes import Mode
from leaf_st.recipe import Kind

NAME = "agreement"
HELD_OUT = "held-out texts"  # name of the default texts

Group = Literal["all", "tokens", "characters", "distance"]


@dataclass(frozen=True)
class AgreementRow:
    """Agreement of the student's lists with the teacher's lists, mean over some queries.

    Attributes:
        set: Name of the texts.
        mode: "standard" or "asymmetric".
        group: What the queries have in common: all queries, or a third of them by length in tokens (in characters for a
            student without tokenizer batches) or by distance of the teacher's vector to the nearest training text.
        low: Smallest value in the group; None for all queries.
        high: Largest value in the group; None for all queries.
        queries: Number of queries.
        documents: Number of documents.
        recall_1: Share of the teacher's nearest documents that the student finds first, in percent; None if every list
            contains all documents. A recall is computed by `leaf_st.evaluation.measurements.list_agreement.recall`.
        recall_10: Share of the teacher's ten nearest documents among the student's ten nearest, in percent.
        recall_100: The same for a hundred documents.
        overlap: Rank-biased overlap of the lists of 100, extrapolated, with p = 0.9, from 0 to 1.
        correlation: Mean of Pearson's correlation of the scores over the union of both lists of 100; None if undefined.
        asked: Kind of the texts that are the queries.
        trained: Number of documents that the student was trained on.
        model: Name of the student.
        teacher: Name of the teacher.
    """

    set: str
    mode: Mode
    group: Group
    low: float | None
    high: float | None
    queries: int
    documents: int
    recall_1: float | None
    recall_10: float | None
    recall_100: float | None
    overlap: float
    correlation: float | None
    asked: Kind
    trained: int
    model: str
    teacher: str
