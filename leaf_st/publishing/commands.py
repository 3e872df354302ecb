"""The commands behind a report and a card, as they are typed: those that made what is there, and what is not."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from leaf_st.evaluation.beir import is_beir
from leaf_st.evaluation.modes import ROLES
from leaf_st.publishing.measured import Measured
from leaf_st.recipe import DOCSTRINGS


def measure(measured: Measured, what: str) -> str:
    """Return `leaf-st measure`; FOLDER where the user has to say which retrieval set."""
    known = what in ("alignment", "latency") or any(is_beir(Path(name)) for name in measured.recipe.evaluate_on)
    return _line("measure", what, str(measured.run)) + ("" if known else " --data FOLDER")


def evaluate(measured: Measured) -> str:
    """Return `leaf-st evaluate` on the sets of the recipe that are here, or else on NanoBEIR."""
    here = [name for name in measured.recipe.evaluate_on if Path(name).exists()] or ["NanoBEIR"]
    return _line("evaluate", str(measured.run), "--teacher", measured.recipe.teacher.model, "--tasks", *here)


def train(measured: Measured, *settings: str) -> str:
    """Return `leaf-st train` into this folder, or into another one with ``settings``."""
    if not settings:
        return _line("train", "RECIPE.py", "--output", str(measured.run))
    values = (word for setting in settings for word in ("--set", setting))
    return _line("run", "RECIPE.py", *values, "--output", f"{measured.run}-margin")


def export(measured: Measured) -> str:
    """Return `leaf-st export`."""
    return _line("export", str(measured.run))


def of_tasks(measured: Measured) -> str:
    """Return the command that the scores are from."""
    sets = dict.fromkeys(row.path or row.set for row in measured.tasks)
    modes = [mode for mode in ROLES if any(row.mode == mode for row in measured.tasks)]
    teacher = ["--teacher", measured.recipe.teacher.model] if any(row.teacher for row in measured.tasks) else []
    some = ["--modes", *modes] if teacher and len(modes) < len(ROLES) else []
    return _line("evaluate", str(measured.run), *teacher, "--tasks", *sets, *some)


def of_sets(measured: Measured, what: str, sets: Iterable[str]) -> str:
    """Return the command that ``what`` was measured by on ``sets``."""
    return _line("measure", what, str(measured.run), "--data", *_where(measured, sets))


def of_latency(measured: Measured) -> str:
    """Return the command that the times are from."""
    students = dict.fromkeys(row.model for row in measured.latency if row.model != row.teacher)
    # The first of them is this one, by whichever name it was called.
    others = list(students)[1:]
    return _line("measure", "latency", str(measured.run), *others, *_texts(measured.latency[0].texts))


def of_export(measured: Measured) -> str:
    """Return the command that the files are from."""
    row = measured.exported[0]
    data = ["--data", *_where(measured, row.sets)] if row.sets else []
    return _line("export", str(measured.run), *_texts(row.texts), *data)


def _where(measured: Measured, sets: Iterable[str]) -> list[str]:
    """Return ``sets``, each with its folder where the recipe says it."""
    folders = {Path(name).name: name for name in measured.recipe.evaluate_on}
    return [folders.get(name, name) for name in dict.fromkeys(sets)]


def _texts(source: str | None) -> list[str]:
    return [] if source in (None, DOCSTRINGS) else ["--texts", str(source)]


def _line(*words: str) -> str:
    # A name with a line break in it would end the block of code that it stands in.
    return shlex.join(["leaf-st", *(" ".join(word.split()) for word in words)])
