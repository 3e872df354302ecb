"""The head of the report: what was distilled into what, and four numbers."""

from dataclasses import dataclass

from leaf_st.evaluation.latency_table import speeds
from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.results import TWO_SIDED, averages, comparable, retention
from leaf_st.publishing.measured import Measured
from leaf_st.recipe import DOCSTRINGS, PAPER, StudentSpec, TextsSpec


@dataclass(frozen=True)
class Tile:
    """A number at the head of the page.

    Attributes:
        label: What it is.
        value: It; empty if it was not measured.
        note: What it is a number of.
        section: Id of the section that says what measures it; empty if it was measured.
    """

    label: str
    value: str
    note: str
    section: str = ""


def lead(measured: Measured) -> str:
    """Return in one sentence what was distilled into what."""
    recipe = measured.recipe
    return (
        f"A student in the vector space of {recipe.teacher.model}: {_shape(recipe.student)}, "
        f"trained on {_texts(recipe.texts)}."
    )


def _texts(spec: TextsSpec) -> str:
    """Return what a reader calls the texts."""
    known = {DOCSTRINGS: "documentation strings", PAPER: "the nine sources of the paper"}
    return known.get(spec.source, spec.source.rstrip("/").rpartition("/")[2])


def _shape(student: StudentSpec) -> str:
    if student.start is not None:
        return f"{student.start}, trained further"
    if student.static:
        return "a table of its tokens' vectors"
    if student.layers is None:
        return str(student.backbone)
    what = "layer" if len(student.layers) == 1 else "layers"
    return f"{what} {', '.join(map(str, student.layers))} of {student.backbone or 'its encoder'}"


def facts(measured: Measured) -> list[str]:
    """Return how long it was trained, and how near it came."""
    found = []
    ended = [row for row in measured.training if row.train_runtime is not None]
    if ended and ended[-1].train_runtime is not None:
        found.append(f"{ended[-1].step:,} steps in {_duration(ended[-1].train_runtime)}")
    for row in measured.alignment:
        found.append(f"mean L2 {row.l2:.4f} and cosine {row.cosine:.4f} to the teacher on {row.rows:,} {row.set}")
    return found


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def tiles(measured: Measured) -> list[Tile]:
    """Return size, speed and what each mode keeps."""
    return [_size(measured), _speed(measured), _kept(measured, "standard"), _kept(measured, "asymmetric")]


def _size(measured: Measured) -> Tile:
    sizes = {row.role: row.parameters for row in measured.sizes}
    if (ours := sizes.get("student")) is None:
        return Tile("Size", "", "parameters", "tasks")
    theirs = sizes.get("teacher")
    beside = f"; the teacher has {short(theirs)}" if theirs else ""
    return Tile("Size", short(ours), f"parameters{beside}")


def short(count: int) -> str:
    """Return a number of parameters in thousands, millions or billions."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def _speed(measured: Measured) -> Tile:
    """Return how much faster queries are on the first backend; the student that was timed first is this one."""
    first = next((row for row in measured.latency if row.model != row.teacher and row.side == "query"), None)
    if first is not None:
        timed = (speed for speed in speeds(measured.latency) if (speed.model, speed.side) == (first.model, first.side))
        ours = next(timed)
        if ours.speedup is not None:
            rates = f"{ours.rate:,.0f} a second, the teacher {ours.rate / ours.speedup:,.0f}"
            return Tile("Queries", f"{ours.speedup:.1f}x", f"as fast: {rates} ({ours.backend}, {first.processor})")
    if rate := measured.speed.get("queries"):
        rates = f"{rate.student:,.0f} a second, the teacher {rate.teacher:,.0f}"
        return Tile("Queries", f"{rate.student / rate.teacher:.1f}x", f"as fast: {rates}")
    return Tile("Queries", "", "speed beside the teacher", "latency")


def _kept(measured: Measured, mode: Mode) -> Tile:
    label = f"Retention, {mode}"
    rows = comparable(measured.tasks, mode)
    kept = retention(rows).get(mode)
    if kept is None:
        return Tile(label, "", "of the teacher's score", "tasks")
    means = averages(rows)
    names, every = {row.set for row in rows}, {row.set for row in measured.tasks}
    over = f"mean of {len(names)} tasks" if len(names) > 1 else rows[0].set
    if names != every:
        over += f", of {len(every)} that were measured"
    if mode == "asymmetric" and (alone := {row.set for row in rows if row.type not in TWO_SIDED}):
        over += f", of which {len(alone)} have no asymmetric mode and count by their standard score"
    who = {"standard": "student for both sides", "asymmetric": "student for queries, teacher for documents"}[mode]
    return Tile(label, f"{kept:.1f}%", f"{who}; {means[mode]:.2f} of the teacher's {means['teacher']:.2f}, {over}")
