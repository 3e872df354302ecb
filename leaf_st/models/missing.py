"""Weights that a model lacks in its files, which transformers replaces by random ones, and layers that it does not use.

transformers reports these weights, and weights whose shapes make loading fail, only in a log message.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from transformers.utils import logging as transformers_logging

_ROW = re.compile(r"^(?P<name>[\w.{}, -]+?)\s*\|\s*(?P<status>MISSING|UNEXPECTED)\b", re.MULTILINE)
_OTHER_SHAPE = re.compile(
    r"^(?P<name>[\w.{}, -]+?)\s*\|\s*MISMATCH\b.*"
    r"ckpt: (?:torch\.Size)?(?P<found>.+?) vs model: ?(?:torch\.Size)?(?P<expected>[^|\n]+)",
    re.MULTILINE,
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BUFFER = re.compile(r"(?:attn|attention)\.(?:bias|masked_bias)$|masked_bias$|causal_mask$|inv_freq$|position_ids$")
_UNUSED = "pooler"  # sentence-transformers pools the vectors of tokens itself
_SHOWN = 4  # names in a message
# The report names weights of several layers together: "layer.{0, 1}.bias", or "layer.{0...11}.bias" for many.
_LAYERS = re.compile(r"(?P<stack>.*?\.)(?:\{(?P<several>[^}]*)\}|(?P<one>\d+))\.")


class OtherShapesError(ValueError):
    """The weights of a model have other shapes than its config.json states."""


@dataclass
class LoadReport:
    """What transformers reports about the files of models.

    Attributes:
        missing: Names of the weights that the files lack.
        unexpected: Names of the weights in the files that no model has.
        shapes: Weights whose shape differs from that of config.json, each with both shapes.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    def problem(self, remedy: str) -> str:
        """Return what was found in place of the missing weights, and the remedy, which is another one for a prefix."""
        pairs = ((name, other) for name in self.missing for other in self.unexpected)
        prefixes = Counter(other.removesuffix(name) for name, other in pairs if other.endswith(f".{name}"))
        if prefixes:
            prefix = max(prefixes, key=lambda found: prefixes[found])
            wrapped = ", as DataParallel names the weights of a model that it wraps" if prefix == "module." else ""
            return (
                f"found names that begin with {prefix!r}{wrapped}: remove {prefix!r} from the names in the safetensors "
                "file, or save the model itself and not its wrapper"
            )
        others = len(self.missing) - _SHOWN
        shown = ", ".join(self.missing[:_SHOWN]) + (f" and {others} others" if others > 0 else "")
        return f"found none for {shown}, which would be random: {remedy}"

    def unused_layers(self, names: Collection[str]) -> int:
        """Return how many layers of the files a model with weights of these ``names`` does not have.

        Other weights, such as those of a pooler or of a head, are no layers of the model.
        """
        unused: set[tuple[str, int]] = set()
        for match in filter(None, map(_LAYERS.match, self.unexpected)):
            stack = match["stack"]
            known = {int(found[1]) for name in names if (found := re.match(rf"{re.escape(stack)}(\d+)\.", name))}
            if known:
                unused |= {(stack, number) for number in _numbers(match["several"] or match["one"]) - known}
        return len(unused)

    def unread_in_layers(self, names: Collection[str]) -> list[str]:
        """Return the unexpected weights inside of layers that a model with weights of these ``names`` has.

        Earlier versions of transformers also saved buffers, such as causal masks, which classes make again.
        """
        if self.unused_layers(names):
            return []
        stacks = {match["stack"] for name in names if (match := _LAYERS.match(name))}
        found = [(name, _LAYERS.match(name)) for name in self.unexpected if not _BUFFER.search(name)]
        return [name for name, match in found if match and match["stack"] in stacks]


def _numbers(text: str) -> set[int]:
    first, is_range, last = text.partition("...")
    return set(range(int(first), int(last) + 1)) if is_range else set(map(int, text.split(",")))


class _Handler(logging.Handler):
    """Adds what transformers logs to a report."""

    def __init__(self, report: LoadReport) -> None:
        super().__init__(logging.WARNING)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        message = _COLOURS.sub("", record.getMessage())
        self._report.shapes += [
            f"{row['name']} {row['found'].strip()} instead of {row['expected'].strip()}"
            for row in _OTHER_SHAPE.finditer(message)
        ]
        for row in _ROW.finditer(message):
            if row["status"] == "UNEXPECTED":
                self._report.unexpected.append(row["name"])
            elif _UNUSED not in row["name"]:
                self._report.missing.append(row["name"])


@contextmanager
def load_report() -> Iterator[LoadReport]:
    """Yield a report that receives what transformers reports about the models loaded in the block.

    The log message of transformers is not printed.

    Raises:
        OtherShapesError: If loading fails because weights have other shapes.
    """
    logger = transformers_logging.get_logger("transformers.modeling_utils")
    report = LoadReport()
    handler, level, propagates = _Handler(report), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield report
    except RuntimeError as error:
        if not report.shapes:
            raise
        found = ", ".join(report.shapes[:_SHOWN])
        raise OtherShapesError(f"expected weights of the shapes that config.json states, found {found}") from error
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
