"""The head of a report and of a card: what was distilled into what, and four numbers."""

from dataclasses import dataclass

from leaf_st.evaluation.measurements.alignment import ALIGNMENT
from leaf_st.evaluation.measurements.latency import LATENCY
from leaf_st.evaluation.measurements.latency_rows import speeds
from leaf_st.evaluation.measurements.speed import SPEED
from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.measurements.training import TRAINING
from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.results import TWO_SIDED, averages, comparable, retention, retention_intervals
from leaf_st.evaluation.sizes import read_starts, unread_texts
from leaf_st.hub.dataset_url import is_dataset_url, parse_dataset_url
from leaf_st.publishing.results import Results
from leaf_st.recipe import DOCSTRINGS, PAPER, StudentSpec, TextsSpec

_SIDES = {"standard": "student for both sides", "asymmetric": "student for queries, teacher for documents"}


@dataclass(frozen=True)
class Tile:
    """A number at the head of the page.

    Attributes:
        label: Name of the number.
        value: The number as text; empty if it was not measured.
        note: Unit and context.
        section: Id of the section with the command that measures the number; empty if it was measured.
    """

    label: str
    value: str
    note: str
    section: str = ""


def lead(results: Results) -> str:
    """Return one sentence on what was distilled into what."""
    recipe = results.recipe
    return (
        f"A student in the vector space of {recipe.teacher.name}: {_shape(recipe.student)}, "
        f"trained on {_texts(recipe.texts)}."
    )


def _texts(spec: TextsSpec) -> str:
    """Return a name of the texts for readers."""
    if is_dataset_url(spec.source):
        return parse_dataset_url(spec.source).repo_id
    names = {DOCSTRINGS: "documentation strings", PAPER: "the nine sources of the paper"}
    return names.get(spec.source, spec.source.rstrip("/").rpartition("/")[2])


def _shape(student: StudentSpec) -> str:
    if student.start is not None:
        return f"{student.start}, trained further"
    if student.static:
        return "a static model, which is a table of token vectors"
    backbone = student.backbone or "the teacher"
    trimmed = "" if student.vocabulary is None else f" with at most {student.vocabulary:,} tokens"
    if student.layers is None:
        return f"{backbone}{trimmed}"
    noun = "layer" if len(student.layers) == 1 else "layers"
    return f"{noun} {', '.join(map(str, student.layers))} of {backbone}{trimmed}"


def facts(results: Results) -> list[str]:
    """Return the duration of the training, the distances to the teacher, and what the student does not read."""
    found = []
    ended = [row for row in results.rows(TRAINING) if row.train_runtime is not None]
    if ended:
        seconds = ended[-1].whole_runtime
        found.append(f"{ended[-1].step:,} steps" + ("" if seconds is None else f" in {_duration(seconds)}"))
    for row in results.rows(ALIGNMENT):
        found.append(f"mean L2 {row.l2:.4f} and cosine {row.cosine:.4f} to the teacher on {row.rows:,} {row.set}")
    if results.record.vocabulary is not None:
        found.append(str(results.record.vocabulary))
    return [*found, *filter(None, [unread_texts(results.sizes), read_starts(results.sizes)])]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def tiles(results: Results) -> list[Tile]:
    """Return the size of the student, its speed, and the retention of each mode."""
    return [_size(results), _speed(results), _retention(results, "standard"), _retention(results, "asymmetric")]


def _size(results: Results) -> Tile:
    student, teacher = results.size("student"), results.size("teacher")
    if student is None:
        return Tile("Size", "", "parameters", TASKS.name)
    beside = f"; the teacher has {short(teacher.parameters)}" if teacher and teacher.parameters else ""
    return Tile("Size", short(student.parameters), f"parameters{beside}")


def short(count: int) -> str:
    """Return a number of parameters in thousands, millions or billions."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def _speed(results: Results) -> Tile:
    """Return the speed-up of queries on the first backend. The first student of the rows is the run's student."""
    rows = results.rows(LATENCY)
    first = next((row for row in rows if row.model != row.teacher and row.side == "query"), None)
    if first is not None:
        timed = next(speed for speed in speeds(rows) if (speed.model, speed.side) == (first.model, first.side))
        if timed.speedup is not None:
            rates = f"{timed.rate:,.0f} a second, the teacher {timed.rate / timed.speedup:,.0f}"
            return Tile("Queries", f"{timed.speedup:.1f}x", f"as fast: {rates} ({timed.backend}, {first.processor})")
    for row in results.rows(SPEED):
        if row.side == "queries":
            rates = f"{row.student:,.0f} a second, the teacher {row.teacher:,.0f}"
            return Tile("Queries", f"{row.student / row.teacher:.1f}x", f"as fast: {rates}")
    return Tile("Queries", "", "speed compared with the teacher", LATENCY.name)


def _retention(results: Results, mode: Mode) -> Tile:
    label, every = f"Retention, {mode}", results.rows(TASKS)
    rows = comparable(every, mode)
    retained = retention(rows).get(mode)
    if retained is None:
        return Tile(label, "", "of the teacher's score", TASKS.name)
    means = averages(rows)
    names, all_names = {row.set for row in rows}, {row.set for row in every}
    over = f"mean of {len(names)} tasks" if len(names) > 1 else rows[0].set
    if names != all_names:
        over += f", of {len(all_names)} that were measured"
    if mode == "asymmetric" and (one_sided := {row.set for row in rows if row.type not in TWO_SIDED}):
        over += f"; for the {len(one_sided)} tasks without asymmetric mode, the standard score is used"
    scores = f"{means[mode]:.2f} of the teacher's {means['teacher']:.2f}"
    interval = retention_intervals(rows).get(mode)
    sure = f" (95 % interval {interval[0]:.1f} to {interval[1]:.1f})" if interval else ""
    return Tile(label, f"{retained:.1f}%", f"{_SIDES[mode]}; {scores}, {over}{sure}")
