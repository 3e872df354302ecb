"""Code that several groups of commands share: help texts, quiet libraries, the table of results."""

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
MODEL = "student: run folder, model folder, name from `leaf-st models`, or hub id"
TEACHER = "teacher: folder or hub id"
RESULTS = "(default: results/ in the run folder, or results/NAME)"


def quieten() -> None:
    """Turn off progress bars and warnings of libraries that tell a user nothing; download bars stay."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    # mteb reports which tasks have a successor, and which tasks are new.
    warnings.filterwarnings("ignore", category=UserWarning, module="mteb")
    logging.getLogger("mteb").setLevel(logging.ERROR)
    # scikit-learn reports a class without texts once per metric and sample of a small test set.
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    # sentence-transformers and accelerate pass this argument to torch in each process.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    downloads_hidden = are_progress_bars_disabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # hides download bars as well
    if not downloads_hidden:
        enable_progress_bars()


def print_results(rows: Sequence["Result"]) -> None:
    """Print the table of ``rows``, or the command that measures some if there are none."""
    from leaf_st.evaluation.results import format_table

    if rows:
        print(format_table(rows))
    else:
        print("not evaluated: the recipe names no local set; try leaf-st evaluate MODEL --teacher TEACHER --tasks NAME")
