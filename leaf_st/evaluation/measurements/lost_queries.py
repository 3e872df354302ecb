"""The measurement ``lost_queries``: the queries whose lists agree least with the teacher's lists, and their documents.

The measurement ``agreement`` writes the rows. They quote the user's texts, so they are on the report only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leaf_st.evaluation.measurements.measurement import Measurement, Section, Table
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES, Mode
from leaf_st.tables import aligned


@dataclass(frozen=True)
class LostHitRow:
    """A document that one of the queries with the lowest overlap found.

    Attributes:
        set: Name of the texts.
        place: Position of the query, from 1; the first query loses most.
        asked: First words of the query.
        mode: The mode.
        overlap: Rank-biased overlap with the teacher's list.
        rank: Position of the document in the list, from 1.
        score: Similarity.
        teacher_rank: Position in the teacher's list; None beyond rank 100.
        text: First words of the document.
        model: Name of the student.
        teacher: Name of the teacher.
    """

    set: str
    place: int
    asked: str
    mode: Mode
    overlap: float
    rank: int
    score: float
    teacher_rank: int | None
    text: str
    model: str
    teacher: str


def lost_by_query(rows: Sequence[LostHitRow]) -> dict[tuple[str, int], dict[Mode, list[LostHitRow]]]:
    """Return the documents of each query by mode; the key of a query is its set and its place."""
    found: dict[tuple[str, int], dict[Mode, list[LostHitRow]]] = {}
    for row in rows:
        found.setdefault((row.set, row.place), {}).setdefault(row.mode, []).append(row)
    return found


def _lost_section(rows: Sequence[LostHitRow]) -> Section:
    text = (
        "The queries whose lists in both modes overlap least with the teacher's list. Each column shows the nearest "
        "documents of a mode, cut to their first words: similarity, rank in the teacher's list in parentheses (a dash "
        "beyond rank 100), text. These texts are not published."
    )
    return Section([text], folded=[_lost_table(modes) for modes in lost_by_query(rows).values()])


def _lost_table(modes: Mapping[Mode, Sequence[LostHitRow]]) -> Table:
    first = {mode: rows[0] for mode, rows in modes.items()}
    query = next(iter(first.values()))
    overlaps = ", ".join(f"{mode} {first[mode].overlap:.3f}" for mode in STUDENT_MODES if mode in first)
    cells = {(mode, row.rank): _lost_cell(row) for mode, rows in modes.items() for row in rows}
    shown = [mode for mode in ROLES if mode in modes]
    ranks = sorted({rank for _, rank in cells})
    return Table(
        f"lost-query-{query.set}-{query.place}".replace(" ", "-"),
        ["", *shown],
        [[str(rank), *(cells.get((mode, rank), "-") for mode in shown)] for rank in ranks],
        left=1 + len(shown),
        caption=f"“{query.asked}” ({query.set}). Rank-biased overlap: {overlaps}.",
    )


def _lost_cell(row: LostHitRow) -> str:
    place = "" if row.mode == "teacher" else f"({row.teacher_rank or '-'}) "
    return f"{row.score:.3f} {place}{row.text}"


def _format_lost(rows: Sequence[LostHitRow]) -> str:
    tables = [_lost_table(modes) for modes in lost_by_query(rows).values()]
    return "\n\n".join(f"{table.caption}\n{aligned([table.header, *table.rows], table.left)}" for table in tables)


LOST_QUERIES = Measurement(
    name="lost_queries",
    row=LostHitRow,
    title="Queries that lose most",
    help="show the queries with the lowest agreement",
    command=("measure", "agreement", "lost"),
    table=_format_lost,
    section=_lost_section,
    on_card=False,
    shareable=False,
)
