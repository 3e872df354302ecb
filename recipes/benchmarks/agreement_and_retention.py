"""How well agreement@10, which needs no judgments, predicts the retention of nDCG@10.

Command:  python recipes/benchmarks/agreement_and_retention.py MODEL [MODEL ...] --data FOLDER [FOLDER ...]

MODEL is a run folder, model folder or hub id; FOLDER is a judged retrieval set (BEIR). Checkpoints of a run are good
models, because they differ in quality; they need --teacher, which is opened in float32. Both values come from the same
vectors and exact search: agreement@10 is the share of the teacher's ten nearest documents among the student's ten
nearest; retention is the student's nDCG@10 divided by the teacher's. Each teacher embeds a set once. Each finished pair
of model and set is kept in the output folder, so a stopped command resumes with the next pair. A model with fewer
dimensions than the teacher has no asymmetric mode.

Result:   The table of six students on six sets and the correlations are in docs/results.md.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import BeirSet, check_folders, document_text, load_beir, revision_of
from leaf_st.evaluation.embedder import BLOCK, QueriesAndDocuments, require_finite
from leaf_st.evaluation.measurements.list_agreement import Search, similarities
from leaf_st.evaluation.measurements.over_sets import load_pair
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.evaluation.ranking import exact_ndcg
from leaf_st.evaluation.results import retention_percent
from leaf_st.evaluation.rows import part_file, read_or_make, write_rows
from leaf_st.models.identity import identify
from leaf_st.tables import aligned
from leaf_st.teacher.protocol import Teacher

NAME = "agreement_and_retention"


@dataclass(frozen=True)
class Point:
    """One model in one mode on one set.

    Attributes:
        set: Name of the set.
        model: The model as the command names it.
        mode: "standard" or "asymmetric".
        agreement: Agreement@10 in percent.
        overlap: Rank-biased overlap with the teacher's list of 100 documents, from 0 to 1.
        score: The student's nDCG@10 in percent.
        teacher_score: The teacher's nDCG@10 in percent.
    """

    set: str
    model: str
    mode: Mode
    agreement: float
    overlap: float
    score: float
    teacher_score: float

    @property
    def retention(self) -> float | None:
        """nDCG@10 retention in percent; None if the teacher's score is too low for a ratio."""
        return retention_percent(self.score, self.teacher_score)


def main() -> None:
    """Measure all pairs of model and set, and print the table and the correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="run folder, model folder or hub id")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="BEIR folders")
    parser.add_argument("--teacher", help="teacher of all models (default: the teacher that each model learned from)")
    parser.add_argument("--output", type=Path, default=Path("results") / NAME, metavar="DIR", help="output folder")
    options = parser.parse_args()
    check_folders(options.data)
    pairs = {name: load_pair(name, options.teacher) for name in options.models}
    points = [point for folder in options.data for point in measure_set(folder, pairs, options.output)]
    write_rows(options.output / f"{NAME}.json", points)
    print(f"{format_points(points)}\n\n{format_relation(points)}")


def measure_set(folder: Path, pairs: dict[str, tuple[Teacher, SentenceTransformer]], output: Path) -> list[Point]:
    """Return the points of all models on the set ``folder``."""
    beir, revision = load_beir(folder), revision_of(folder)
    embedded: dict[str, QueriesAndDocuments] = {}  # of this set, by teacher
    points: list[Point] = []
    for name, (teacher, student) in pairs.items():
        part = part_file(output, NAME, beir.name, name, str(identify(student)), str(teacher.identity), revision)
        points += read_or_make(part, Point, partial(_measure, beir, name, teacher, student, embedded))
    return points


def _measure(
    beir: BeirSet, name: str, teacher: Teacher, student: SentenceTransformer, embedded: dict[str, QueriesAndDocuments]
) -> list[Point]:
    key = str(teacher.identity)
    if key not in embedded:
        embedded[key] = _embed(beir, teacher.encode_query, teacher.encode_document, "the teacher")
    queries, documents = embedded[key]
    quiet = {"show_progress_bar": False}
    encoders = partial(student.encode_query, **quiet), partial(student.encode_document, **quiet)
    own_queries, own_documents = _embed(beir, *encoders, "the student")
    width, modes = queries.shape[1], STUDENT_MODES
    if own_queries.shape[1] != width:
        # Zeros change no similarity of the student, and asymmetric similarities have no meaning.
        own_queries, own_documents = (_widened(own, width) for own in (own_queries, own_documents))
        modes = ("standard",)
    search = Search(beir.own_places, len(documents))
    for start in range(0, len(documents), BLOCK):
        targets, own = documents[start : start + BLOCK], own_documents[start : start + BLOCK]
        sides = (queries, own_queries), (targets, own)
        search.add(similarities(teacher.similarity, student.similarity, *sides))
    scores: dict[Mode, float] = {
        "teacher": exact_ndcg(beir, queries, documents, teacher),
        "standard": exact_ndcg(beir, own_queries, own_documents, student),
        "asymmetric": exact_ndcg(beir, own_queries, documents, teacher),
    }
    lists, points = search.nearest(), []
    for mode in modes:
        compared = search.compare(lists, mode)
        # With ten documents or fewer, every list contains all documents.
        agreement = 100 * float(compared.recalls[10].mean()) if 10 in compared.recalls else 100.0
        overlap = float(compared.overlap.mean())
        points.append(Point(beir.name, name, mode, agreement, overlap, scores[mode], scores["teacher"]))
    return points


def _widened(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return n vectors with zeros as additional coordinates, shape (n, width).

    Raises:
        InputError: If the vectors are wider than ``width``.
    """
    missing = width - vectors.shape[1]
    if missing < 0:
        raise InputError(
            f"expected a student of at most {width} dimensions, as the teacher has, found {vectors.shape[1]}: name "
            "another MODEL"
        )
    return np.pad(vectors, ((0, 0), (0, missing)))


def _embed(
    beir: BeirSet,
    encode_query: Callable[[list[str]], NDArray[np.float32]],
    encode_document: Callable[[list[str]], NDArray[np.float32]],
    model: str,
) -> QueriesAndDocuments:
    """Return the vectors of the queries and documents of ``beir``."""
    sides = []
    for texts, encode in (
        ([row["text"] for row in beir.queries], encode_query),
        ([document_text(row) for row in beir.corpus], encode_document),
    ):
        blocks = []
        with tqdm(desc=f"{beir.name}, {model}", unit=" texts", total=len(texts)) as bar:
            for start in range(0, len(texts), BLOCK):
                block = texts[start : start + BLOCK]
                blocks.append(np.asarray(encode(block), np.float32))
                require_finite(blocks[-1], block, model)
                bar.update(len(block))
        sides.append(np.concatenate(blocks))
    return sides[0], sides[1]


def format_points(points: Sequence[Point]) -> str:
    """Return a line per set and model, with agreement@10 and retention of both modes side by side."""
    values = [f"{value}, {mode}" for mode in STUDENT_MODES for value in ("agreement@10", "retention")]
    lines = [["set", "model", "teacher nDCG@10", *values]]
    by_mode = {(point.set, point.model, point.mode): point for point in points}
    for name, model in dict.fromkeys((point.set, point.model) for point in points):
        found = [by_mode.get((name, model, mode)) for mode in STUDENT_MODES]
        values_of = [(None, None) if point is None else (point.agreement, point.retention) for point in found]
        cells = [_percent(value) for pair in values_of for value in pair]
        lines.append([name, model, f"{by_mode[name, model, 'standard'].teacher_score:.2f}", *cells])
    return aligned(lines, left=2)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}%"


def format_relation(points: Sequence[Point]) -> str:
    """Return a line per mode: the correlations of agreement@10 and retention over all points, and a straight line."""
    lines = []
    for mode in STUDENT_MODES:
        known = [(point.agreement, point.retention) for point in points if point.mode == mode]
        pairs = [(agreement, retention) for agreement, retention in known if retention is not None]
        lines.append(f"{mode}: {_relation(pairs)}")
    return "\n".join(lines)


def _relation(pairs: Sequence[tuple[float, float]]) -> str:
    if len(pairs) < 3 or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return f"{len(pairs)} points: a correlation needs three points that differ: name more models or sets"
    agreements, retentions = zip(*pairs, strict=True)
    pearson = statistics.correlation(agreements, retentions)
    spearman = float(spearmanr(agreements, retentions).statistic)
    slope, intercept = statistics.linear_regression(agreements, retentions)
    errors = [retention - intercept - slope * agreement for agreement, retention in pairs]
    return (
        f"{len(pairs)} points, Pearson {pearson:.3f}, Spearman {spearman:.3f}; retention = {intercept:.1f} + "
        f"{slope:.3f} x agreement@10, standard deviation of the error {statistics.pstdev(errors):.1f} points"
    )


if __name__ == "__main__":
    main()
