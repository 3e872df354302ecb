"""The terminal of a command: messages of this and other libraries, and the table of results."""

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from leaf_st.run_folder import MODEL

if TYPE_CHECKING:
    from leaf_st.evaluation.results import Result


class _Console(logging.Handler):
    """Writes INFO records to stdout as plain lines, and warnings to stderr behind the name of the program."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record`` above the progress bars. The streams are looked up at each call: tests replace them."""
        from huggingface_hub.utils.tqdm import tqdm as hub_tqdm
        from tqdm import tqdm

        warning = record.levelno >= logging.WARNING
        stream: TextIO = sys.stderr if warning else sys.stdout
        with hub_tqdm.get_lock():  # the bars of its threads are in tqdm's list of bars, but have a lock of their own
            tqdm.write(f"{self._program}: {record.getMessage()}" if warning else record.getMessage(), file=stream)
        stream.flush()


@contextmanager
def messages_shown(program: str) -> Iterator[None]:
    """Show what the ``leaf_st`` loggers report; of several processes, only the first one shows INFO."""
    logger = logging.getLogger("leaf_st")
    level_before, propagated_before = logger.level, logger.propagate
    handler = _Console(program)
    logger.addHandler(handler)
    logger.propagate = False  # a library that configures the root logger would show each message a second time
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level_before)
        logger.propagate = propagated_before
        logger.removeHandler(handler)


def quieten() -> None:
    """Turn off progress bars and warnings of libraries that do not help a user; keep download bars."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    # mteb reports which tasks have a successor, and which tasks are new.
    warnings.filterwarnings("ignore", category=UserWarning, module="mteb")
    logging.getLogger("mteb").setLevel(logging.ERROR)
    # scikit-learn reports a class without texts once per metric and sample of a small test set.
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    # scipy reports a rank correlation that is not defined; the evaluation names the set.
    warnings.filterwarnings("ignore", message="An input array is constant", category=RuntimeWarning)
    # matplotlib reports that its cache of fonts is temporary, where the home folder cannot be written.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # torch reports layers without weights, which a damaged configuration asks for; loading names the file.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.nn")
    # sentence-transformers and accelerate pass this argument to torch in each process.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    downloads_hidden = are_progress_bars_disabled()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # hides download bars as well
    if not downloads_hidden:
        enable_progress_bars()


def print_results(rows: Sequence["Result"], run: Path) -> None:
    """Print the folder of the student of ``run``, and the table of ``rows`` or the command that measures some."""
    from leaf_st.evaluation.results_table import format_table

    if rows:
        print(format_table(rows))
    print(f"the student is in {run / MODEL}")
    if not rows:
        print(
            "no local set has a score; to evaluate the student on public sets: "
            f"leaf-st evaluate {shlex.quote(str(run))} --tasks NanoBEIR"
        )
