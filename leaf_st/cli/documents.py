"""The documents of a command: the options that name them, and their reading."""

import argparse
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leaf_st.errors import FieldError, InputError

_OPTIONS = {"text_column": "--text-column", "title_column": "--title-column"}

_logger = logging.getLogger(__name__)


def add_documents(parser: argparse.ArgumentParser) -> None:
    """Add the options that `read` reads."""
    parser.add_argument("--documents", type=Path, required=True, metavar="FILE", help="documents, one per row")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column of a table (default: text)")


def read(options: argparse.Namespace) -> list[str]:
    """Return the documents, and log how many rows were left out.

    Raises:
        InputError: If the file cannot be read or contains no usable text.
    """
    from leaf_st.texts.check import log_left_out
    from leaf_st.texts.documents import read_documents

    skipped: Counter[str] = Counter()
    with options_named():
        documents = read_documents(options.documents, options.text_column, skipped)
    log_left_out(_logger, options.documents, skipped)
    return documents


@contextmanager
def options_named() -> Iterator[None]:
    """Let an error about a source of texts name the option of the command."""
    try:
        yield
    except FieldError as error:
        raise InputError(error.named(_OPTIONS.get(error.field, "--documents"))) from error
