"""The commands that make what a report lacks, as they are typed."""

import shlex
from pathlib import Path

from leaf_st.evaluation.beir import is_beir
from leaf_st.publishing.measured import Measured


def measure(measured: Measured, what: str) -> str:
    """Return `leaf-st measure`; FOLDER where the user has to say which retrieval set."""
    known = what in ("alignment", "latency") or any(is_beir(Path(name)) for name in measured.recipe.evaluate_on)
    return f"leaf-st measure {what} {_quoted(measured)}{'' if known else ' --data FOLDER'}"


def evaluate(measured: Measured) -> str:
    """Return `leaf-st evaluate` on the sets of the recipe that are here, or else on NanoBEIR."""
    here = [name for name in measured.recipe.evaluate_on if Path(name).exists()] or ["NanoBEIR"]
    teacher = shlex.quote(measured.recipe.teacher.model)
    return f"leaf-st evaluate {_quoted(measured)} --teacher {teacher} --tasks {shlex.join(here)}"


def train(measured: Measured, *settings: str) -> str:
    """Return `leaf-st train` into this folder, or into another one with ``settings``."""
    if not settings:
        return f"leaf-st train RECIPE.py --output {_quoted(measured)}"
    values = " ".join(f"--set {setting}" for setting in settings)
    return f"leaf-st run RECIPE.py {values} --output {shlex.quote(f'{measured.run}-margin')}"


def _quoted(measured: Measured) -> str:
    return shlex.quote(str(measured.run))
