"""Weights that a model's files lack, which transformers replaces by random ones with a warning."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

_ROW = re.compile(r"^(?P<name>[\w.{}, -]+?)\s*\|\s*MISSING\b", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_UNUSED = "pooler"  # sentence-transformers pools the vectors of tokens itself


class _Report(logging.Handler):
    """Keeps the names of weights that transformers reports as missing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = _ROW.finditer(_COLOURS.sub("", record.getMessage()))
        self.names += [row["name"] for row in found if _UNUSED not in row["name"]]


@contextmanager
def missing_weights() -> Iterator[list[str]]:
    """Yield a list that receives the names of the weights missing in the files of models loaded in the block.

    transformers reports them only by a log message. The message is not printed.
    """
    logger = transformers_logging.get_logger("transformers.modeling_utils")
    report, level, propagates = _Report(), logger.level, logger.propagate
    logger.addHandler(report)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield report.names
    finally:
        logger.removeHandler(report)
        logger.setLevel(level)
        logger.propagate = propagates
