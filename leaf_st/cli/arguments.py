"""Arguments that several groups of commands share: their types, choices and help texts."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaf_st.evaluation.modes import Mode

    SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    SubParsers = object

MODES: tuple["Mode", ...] = ("teacher", "standard", "asymmetric")
MODEL = "student: run folder, model folder, name from `leaf-st models`, or hub id"
TEACHER = "teacher: folder or hub id"
RESULTS = "(default: results/ in the run folder, or results/NAME)"
