"""The measurement ``agreement``: which of the teacher's nearest documents the student finds, without judgments.

By default, the held-out queries of a run search its held-out documents and, up to 5,000 documents, training documents.
The vectors of the teacher come from the store, so no teacher is loaded. ``--texts`` names other texts instead; the
teacher embeds them.

The queries that lose most, which quote the user's texts, are rows of another measurement
(`leaf_st.evaluation.measurements.lost_queries`), so that the numbers can be published without the texts.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.errors import InputError
from leaf_st.evaluation.display import COLOURS, on_axes, set_names
from leaf_st.evaluation.measurements.agreement_row import HELD_OUT, NAME, AgreementRow
from leaf_st.evaluation.measurements.measurement import (
    MODEL_ARGUMENT,
    TEACHER_ARGUMENT,
    Argument,
    Figure,
    Measurement,
    Section,
    Table,
)
from leaf_st.evaluation.modes import STUDENT_MODES
from leaf_st.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def agreement_lines(rows: Sequence[AgreementRow]) -> list[list[str]]:
    """Return the agreement on all queries as cells, a line per set and mode."""
    lines = [["texts", "mode", "queries", "documents", *_VALUES]]
    for row in rows:
        if row.group == "all":
            lines.append([row.set, row.mode, f"{row.queries:,}", f"{row.documents:,}", *_cells(row)])
    return lines


def group_lines(rows: Sequence[AgreementRow]) -> list[list[str]]:
    """Return the agreement on groups of queries as cells, a line per set, group and mode; one set is not named."""
    lines = [["texts", "queries", "mode", "number", *_VALUES]]
    for row in rows:
        if row.group != "all":
            lines.append([row.set, _group_name(row), row.mode, f"{row.queries:,}", *_cells(row)])
    return lines if len(set_names(rows)) > 1 else [line[1:] for line in lines]


_VALUES = ("recall@1", "recall@10", "recall@100", "RBO", "correlation")


def _cells(row: AgreementRow) -> list[str]:
    shares = (row.recall_1, row.recall_10, row.recall_100)
    correlation = "-" if row.correlation is None else f"{row.correlation:.3f}"
    return [*("-" if share is None else f"{share:.1f}%" for share in shares), f"{row.overlap:.3f}", correlation]


def _group_name(row: AgreementRow) -> str:
    """Return the range of the group, such as "4 to 9 tokens"."""
    if row.group == "all" or row.low is None or row.high is None:
        return "all"
    form = ".3f" if row.group == "distance" else ".0f"
    ends = dict.fromkeys((format(row.low, form), format(row.high, form)))
    unit = "from training" if row.group == "distance" else row.group
    return f"{' to '.join(ends)} {unit}"


def format_agreement(rows: Sequence[AgreementRow]) -> str:
    """Return the agreement as aligned tables: all queries, then groups of queries."""
    tables = [aligned(agreement_lines(rows), left=2)]
    if len(groups := group_lines(rows)) > 1:
        tables.append(aligned(groups, left=groups[0].index("number")))
    return "\n\n".join(tables)


def draw_agreement(axes: "Axes", rows: Sequence[AgreementRow]) -> None:
    """Draw recall@10, or recall@1 where every list has ten documents, of all queries and groups of one set."""
    names = list(dict.fromkeys(_group_name(row) for row in rows))
    width = 0.8 / len(STUDENT_MODES)
    for number, mode in enumerate(STUDENT_MODES):
        values = [_drawn(row) for row in rows if row.mode == mode]
        places = [place + (number - 0.5) * width for place in range(len(values))]
        axes.barh(places, values, width, color=COLOURS[mode], label=mode)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="recall@10 (%)", xlim=(0, 100))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def _drawn(row: AgreementRow) -> float:
    return row.recall_10 if row.recall_10 is not None else 100.0


def _section(rows: Sequence[AgreementRow]) -> Section:
    text = [
        "Retention without relevance judgments: how similar the student's lists of documents are to the teacher's. "
        "Recall@k: of the teacher's k nearest documents, the share among the student's k nearest. RBO: rank-biased "
        "overlap of the first 100 documents (p = 0.9, extrapolated), 1 for equal lists. Correlation: mean of Pearson's "
        "correlation of the scores of a query, over the documents that are among the first 100 of either list; a "
        "correlation over all documents would usually be higher.",
        *_origin(rows),
    ]
    header, *lines = agreement_lines(rows)
    tables = [Table("agreement", header, lines, left=2)]
    head, *groups = group_lines(rows)
    if groups:
        by_distance = any(row.group == "distance" for row in rows)
        caption = "By length of the query" + (" and distance of its vector to the nearest training text" * by_distance)
        tables.append(Table("agreement-by-group", head, groups, left=head.index("number"), caption=caption))
    figures = [_figure(name, [row for row in rows if row.set == name]) for name in set_names(rows)]
    return Section(text, figures, tables)


def _figure(name: str, rows: Sequence[AgreementRow]) -> Figure:
    bars = len({_group_name(row) for row in rows})
    caption = f"Share of the teacher's ten nearest documents that the student finds, {name}, by groups of queries."
    return Figure(f"Agreement, {name}", on_axes(partial(draw_agreement, rows=rows)), caption, (4.8, 1.2 + 0.35 * bars))


def _origin(rows: Sequence[AgreementRow]) -> list[str]:
    """Return sentences on the queries and documents that are not what a reader expects."""
    sentences = []
    if any(row.trained for row in rows):
        row = next(row for row in rows if row.trained)
        sentences.append(
            f"Of the {row.documents:,} documents of the {row.set}, {row.trained:,} are training documents, which make "
            "the search harder; training never saw the queries. Standard mode embeds these documents with the student, "
            "which has learned them; asymmetric mode does not."
        )
    if documents := dict.fromkeys(row.set for row in rows if row.asked == "document"):
        sentences.append(f"No queries in {', '.join(documents)}: documents search the other documents.")
    return sentences


def _measure(options: argparse.Namespace) -> list[AgreementRow]:
    from leaf_st.evaluation.measurements.agreement_rows import measure_held_out, measure_texts

    if options.texts:
        return measure_texts(options.model, options.teacher, options.texts, options.output)
    if options.teacher is not None:
        raise InputError(
            f"--teacher {options.teacher}: expected --texts, found none: the held-out texts have only vectors of the "
            "run's teacher: give --texts, or leave out --teacher"
        )
    return measure_held_out(options.model, options.output)


def _words(rows: Sequence[AgreementRow]) -> list[str]:
    names = set_names(rows)
    return [] if names == [HELD_OUT] else ["--texts", *names]


AGREEMENT = Measurement(
    name=NAME,
    row=AgreementRow,
    title="Agreement with the teacher",
    help="measure which of the teacher's nearest documents the student finds, without relevance judgments",
    command=("measure", "agreement"),
    arguments=(
        MODEL_ARGUMENT,
        Argument(
            "--texts",
            {
                "type": Path,
                "nargs": "+",
                "default": [],
                "metavar": "PATH",
                "help": "queries and documents to search instead: BEIR folders, with or without judgments, or tables "
                "with a column `kind`; replaces the earlier results, including those of other texts (default: the "
                "held-out texts of the run)",
            },
        ),
        TEACHER_ARGUMENT,
    ),
    measure=_measure,
    table=format_agreement,
    section=_section,
    words=_words,
)
