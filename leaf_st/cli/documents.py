"""The documents of a command: the options that name them, and their reading."""

import argparse
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from leaf_st.errors import FieldError, InputError

if TYPE_CHECKING:
    from leaf_st.texts.documents import Document

T = TypeVar("T")
_OPTIONS = {"text_column": "--text-column", "title_column": "--title-column"}

_logger = logging.getLogger(__name__)


def add_documents(parser: argparse.ArgumentParser) -> None:
    """Add the options that `read` and `read_titled` read."""
    parser.add_argument("--documents", type=Path, required=True, metavar="FILE", help="documents, one per row")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="column of a table (default: text)")


def read(options: argparse.Namespace) -> list[str]:
    """Return the documents, and log how many rows were left out.

    Raises:
        InputError: If the file cannot be read or contains no usable text.
    """
    from leaf_st.texts.documents import read_documents

    return _read(options, partial(read_documents, options.documents, options.text_column))


def read_titled(options: argparse.Namespace) -> list["Document"]:
    """Return the documents with their titles, and log how many rows were left out.

    Raises:
        InputError: If the file cannot be read, contains no usable text, or has no column ``options.title_column``.
    """
    from leaf_st.texts.documents import read_titled_documents

    source, columns = options.documents, {"title_column": options.title_column}
    return _read(options, partial(read_titled_documents, source, options.text_column, **columns))


def _read(options: argparse.Namespace, reader: Callable[[Counter[str]], list[T]]) -> list[T]:
    from leaf_st.texts.check import log_left_out

    skipped: Counter[str] = Counter()
    try:
        documents = reader(skipped)
    except FieldError as error:
        raise InputError(error.named(_OPTIONS.get(error.field, "--documents"))) from error
    log_left_out(_logger, options.documents, skipped)
    return documents
