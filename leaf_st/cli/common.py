"""What several groups of commands share: help texts, quiet libraries, the table of results."""

import argparse
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaf_st.evaluation.modes import Mode
    from leaf_st.evaluation.results import Result

    SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    SubParsers = object

MODES: tuple["Mode", ...] = ("teacher", "standard", "asymmetric")
MODEL = "student: run folder, model folder, name that `leaf-st models` lists, or hub id"
TEACHER = "teacher: folder or hub id"
RESULTS = "(default: results/ of its run, or results/NAME)"


def quieten() -> None:
    """Turn off the bars and warnings of libraries that tell a user nothing; the bars of downloads stay."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as of_transformers

    # Which of mteb's tasks have a successor, and which of them are new.
    warnings.filterwarnings("ignore", category=UserWarning, module="mteb")
    logging.getLogger("mteb").setLevel(logging.ERROR)
    # A class that no text of a small test set has, once for each metric and sample.
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    # sentence-transformers and accelerate say this to torch, for each process.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    without_bars = are_progress_bars_disabled()
    of_transformers.set_verbosity_error()  # type: ignore[no-untyped-call]
    of_transformers.disable_progress_bar()  # type: ignore[no-untyped-call]  # turns off those of downloads as well
    if not without_bars:
        enable_progress_bars()


def print_results(rows: Sequence["Result"]) -> None:
    """Print the table of ``rows``, or how to measure some where there are none."""
    from leaf_st.evaluation.results import format_table

    if rows:
        print(format_table(rows))
    else:
        print("no set of the recipe is here: leaf-st evaluate MODEL --teacher TEACHER --tasks NAME")
