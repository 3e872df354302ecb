"""Timing models side by side: a machine's speed changes from minute to minute.

Batches of queries and documents are timed from text to vector, tokenizing included, as in the paper's appendix G:
batches of 1, 2, 4, 8, 16 and 24 texts, seven of each size. Each batch has different texts. All models encode the same
batch, alternately. A model thus encodes at least 770 texts of each side on each backend, half of them to warm up.
"""

import copy
import logging
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.embedder import require_finite
from leaf_st.evaluation.measurements.latency_rows import LatencyRow
from leaf_st.export.forms import get_form
from leaf_st.models.identity import model_name
from leaf_st.models.precision import bfloat16_is_fast
from leaf_st.models.prompts import prompt_for
from leaf_st.models.tokens import copy_tokenizer
from leaf_st.recipe import Kind
from leaf_st.student.static import is_static

BATCH_SIZES = (1, 2, 4, 8, 16, 24)  # paper G
REPEATS = 7  # paper G
_WARM_UP_TEXTS = 32
# Seconds. On two cores, torch took four times as long for a query right after onnxruntime.
_WARM_UP_SECONDS = 0.1

Encoder = Callable[[Kind, Sequence[str]], object]
Name = TypeVar("Name")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to be timed.

    Attributes:
        name: Name of the model in rows.
        encoder: The model in float32.
        teacher: Name of the candidate that the model is compared with; a teacher is compared with itself.
        graphs: Paths of the model's ONNX graphs by name of the backend.
        random_weights: Whether the model has the shape of the named model, but random weights.
    """

    name: str
    encoder: SentenceTransformer
    teacher: str
    graphs: Mapping[str, Path] = field(default_factory=dict)
    random_weights: bool = False


def encode_speed(
    models: Mapping[str, SentenceTransformer], texts: Sequence[str], rounds: int = 3, batch_size: int = 32
) -> dict[str, float]:
    """Return texts per second of each model: the median over ``rounds``; models encode ``texts`` alternately.

    sentence-transformers makes the batches.
    """
    encoders = {
        name: partial(model.encode, batch_size=batch_size, show_progress_bar=False) for name, model in models.items()
    }
    seconds = in_turns(encoders, [list(texts)] * rounds)
    return {name: len(texts) / statistics.median(times) for name, times in seconds.items()}


def in_turns(
    encoders: Mapping[Name, Callable[[list[str]], object]], batches: Iterable[list[str]]
) -> dict[Name, list[float]]:
    """Return the seconds that each encoder takes for each batch.

    Before an encoder is timed, it encodes the first texts of the batch repeatedly for a tenth of a second. The time
    thus excludes what a library prepares for a new shape, caches that contain another model, and the threads of the
    library that ran before, which keep waiting for work on all cores for a while.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in encoders}
    for batch in batches:
        for name, encode in encoders.items():
            warm = time.perf_counter() + _WARM_UP_SECONDS
            encode(batch[:_WARM_UP_TEXTS])
            while time.perf_counter() < warm:
                encode(batch[:_WARM_UP_TEXTS])
            started = time.perf_counter()
            encode(batch)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def measure_latency(
    candidates: Sequence[Candidate],
    texts: Mapping[Kind, Sequence[str]],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    repeats: int = REPEATS,
) -> list[LatencyRow]:
    """Time ``candidates`` in float32, in bfloat16 if the device supports it in hardware, and as ONNX if exported.

    Args:
        candidates: Models with different names.
        texts: Texts of each side, from which batches are drawn; each model uses its own prompts.
        batch_sizes: Texts per batch.
        repeats: Batches of each size.

    Returns:
        A row for each model, backend, side and batch size, in this order.

    Raises:
        InputError: If a side has too few texts for a batch, two models have the same name, or a graph cannot be used.
    """
    names = [candidate.name for candidate in candidates]
    if len(set(names)) < len(names):
        raise InputError(f"latency: expected models of different names, found {', '.join(names)}")
    require_batches(texts, batch_sizes)
    for candidate in candidates:
        require_numbers(candidate.encoder, texts)
    ready = [(candidate, backend, encode) for candidate in candidates for backend, encode in _backends(candidate)]
    rows: list[LatencyRow] = []
    with tqdm(desc="latency", unit="text", total=len(texts) * repeats * sum(batch_sizes)) as bar:
        for side, of_side in texts.items():
            rows += _time_side(ready, side, of_side, list(batch_sizes) * repeats, bar)
    order = {(candidate.name, backend): place for place, (candidate, backend, _) in enumerate(ready)}
    return sorted(rows, key=lambda row: order[row.model, row.backend])


def require_batches(texts: Mapping[Kind, Sequence[str]], batch_sizes: Sequence[int]) -> None:
    """Check that each side has enough texts for the largest batch.

    Raises:
        InputError: If a side has too few texts.
    """
    for side, of_side in texts.items():
        if len(of_side) < max(batch_sizes):
            raise InputError(
                f"expected at least {max(batch_sizes)} texts of kind {side} to time a batch, found {len(of_side)}: "
                "name a source with more texts (--texts)"
            )


def require_numbers(model: SentenceTransformer, texts: Mapping[Kind, Sequence[str]]) -> None:
    """Check the vector of the first text of each side: a model that returns NaN would be timed like any other.

    Raises:
        InputError: If a vector contains NaN or infinite numbers.
    """
    first = [of_side[0] for of_side in texts.values()]
    require_finite(model.encode(first, show_progress_bar=False), first, f"the model {model_name(model)}")


def _time_side(
    ready: Sequence[tuple[Candidate, str, Encoder]],
    side: Kind,
    texts: Sequence[str],
    sizes: Sequence[int],
    bar: "tqdm[None]",
) -> Iterator[LatencyRow]:
    draw = np.random.default_rng(0)
    batches = [[texts[row] for row in draw.choice(len(texts), size, replace=False)] for size in sizes]
    encoders = {(candidate.name, backend): partial(encode, side) for candidate, backend, encode in ready}
    seconds = in_turns(encoders, _with_progress(batches, bar))
    drawn = [text for batch in batches for text in batch]
    for candidate, backend, _ in ready:
        tokens = _mean_tokens(candidate.encoder, side, drawn)
        times = list(zip(sizes, seconds[candidate.name, backend], strict=True))
        for size in dict.fromkeys(sizes):
            of_size = tuple(spent for made, spent in times if made == size)
            yield _row(candidate, backend, side, size, of_size, tokens)


def _with_progress(batches: Iterable[list[str]], bar: "tqdm[None]") -> Iterator[list[str]]:
    for batch in batches:
        yield batch
        bar.update(len(batch))


def _row(
    candidate: Candidate, backend: str, side: Kind, size: int, seconds: Sequence[float], tokens: float
) -> LatencyRow:
    device = torch.device("cpu") if backend in candidate.graphs else candidate.encoder.device
    return LatencyRow(
        model=candidate.name,
        teacher=candidate.teacher,
        backend=backend,
        side=side,
        batch_size=size,
        seconds=seconds,
        tokens=tokens,
        parameters=sum(weight.numel() for weight in candidate.encoder.parameters()),
        random_weights=candidate.random_weights,
        device=device.type,
        processor=processor_name(device),
        threads=torch.get_num_threads(),
    )


def _backends(candidate: Candidate) -> Iterator[tuple[str, Encoder]]:
    """Yield the backends that can run ``candidate`` on this machine; graphs that are skipped are logged."""
    yield "torch float32", partial(_encode, candidate.encoder)
    if bfloat16_is_fast(candidate.encoder.device):
        yield "torch bfloat16", partial(_encode, copy.deepcopy(candidate.encoder).to(torch.bfloat16))
    for name, path in candidate.graphs.items():
        form = get_form(name)
        if form.can_run():
            yield name, form.encoder(path, candidate.encoder)
        else:
            _logger.info("%s is not timed: pip install 'leaf-st[onnx]'", path)


def _encode(model: SentenceTransformer, side: Kind, texts: Sequence[str]) -> object:
    encode = model.encode_query if side == "query" else model.encode_document
    return encode(list(texts), batch_size=len(texts), show_progress_bar=False)


def _mean_tokens(model: SentenceTransformer, side: Kind, texts: Sequence[str]) -> float:
    prompt, tokenizer = prompt_for(model.prompts, side), copy_tokenizer(model)
    encoded = tokenizer.encode_batch([prompt + text for text in texts], add_special_tokens=not is_static(model))
    return statistics.fmean(len(text.ids) for text in encoded)


def processor_name(device: torch.device) -> str:
    """Return the system's name of the processor of ``device``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
