"""How fast models encode, measured side by side: machines change their speed from minute to minute.

Batches of queries and of documents are timed from text to vector, tokenizing included, as the paper's appendix G has
them: of 1, 2, 4, 8, 16 and 24 texts, seven times. Each time other texts are drawn, the same for all models, which take
their turn one after the other. So a model encodes 770 texts or more of each side on each backend, half of them to warm
up.
"""

import copy
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.errors import InputError
from leaf_st.evaluation.modes import model_name, require_finite
from leaf_st.export.encoder import GraphKind, OnnxEncoder, onnxruntime_is_here
from leaf_st.recipe import Kind
from leaf_st.student.static import is_static
from leaf_st.teacher.local import bfloat16_is_fast, own_prompt
from leaf_st.texts.paper.cut import own_tokenizer

BATCH_SIZES = (1, 2, 4, 8, 16, 24)  # paper G
REPEATS = 7  # paper G
_WARM = 32  # texts
_SETTLED = 0.1  # seconds; on two cores torch took four times as long for a query right after onnxruntime

Backend = Literal["torch float32", "torch bfloat16"] | GraphKind
Encoder = Callable[[Kind, Sequence[str]], object]
Name = TypeVar("Name")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to time.

    Attributes:
        name: What rows call it.
        model: It, in float32.
        teacher: Name of the candidate whose speed its own is compared with; of a teacher its own name.
        graphs: Its ONNX graphs by kind.
        random_weights: Whether it has the shape of the model of that name alone, which is as fast.
    """

    name: str
    model: SentenceTransformer
    teacher: str
    graphs: Mapping[GraphKind, Path] = field(default_factory=dict)
    random_weights: bool = False


@dataclass(frozen=True)
class LatencyRow:
    """Batches of one size through one model on one backend.

    Attributes:
        model: Its name.
        teacher: Name of the model that it is compared with; its own if it is a teacher.
        backend: What ran it.
        side: Queries or documents.
        batch_size: Texts of a batch.
        seconds: Of each batch, from texts to vectors.
        tokens: That the model reads of a text, prompt included: the mean over the texts of all batch sizes.
        parameters: Of the model.
        random_weights: Whether the weights are random.
        device: "cpu" or another one of torch.
        processor: What the system calls it.
        threads: That torch and onnxruntime take on the CPU.
        texts: What the texts are from; None if not known.
    """

    model: str
    teacher: str
    backend: Backend
    side: Kind
    batch_size: int
    seconds: Sequence[float]
    tokens: float
    parameters: int
    random_weights: bool
    device: str
    processor: str
    threads: int
    texts: str | None = None

    def __post_init__(self) -> None:
        """Make rows from JSON equal to those that were written."""
        object.__setattr__(self, "seconds", tuple(self.seconds))


def encode_speed(
    models: Mapping[str, SentenceTransformer], texts: Sequence[str], rounds: int = 3, batch_size: int = 32
) -> dict[str, float]:
    """Return texts per second of each model: the median over ``rounds`` of all ``texts``, in which all take their turn.

    Batches as sentence-transformers makes them, of 32 by default.
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

    Before it is timed, each encodes the first texts of the batch, again and again for a tenth of a second: what a
    library prepares for a shape that is new to it, what another model pushed out of the caches, and the threads of the
    library that ran before, which for a while wait for work on all cores, are not the model's.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in encoders}
    for batch in batches:
        for name, encode in encoders.items():
            settled = time.perf_counter() + _SETTLED
            encode(batch[:_WARM])
            while time.perf_counter() < settled:
                encode(batch[:_WARM])
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
    """Time ``candidates`` in float32, in bfloat16 where their device has units for it, and as ONNX where exported.

    Args:
        candidates: Their names are all different.
        texts: Texts of each side to be timed, from which batches are drawn; prompts are the models' own.
        batch_sizes: Texts of a batch.
        repeats: Batches of each size.

    Returns:
        A row for each model, backend, side and batch size, in this order.

    Raises:
        InputError: If a side has too few texts for a batch, two models have one name, or a graph cannot be used.
    """
    names = [candidate.name for candidate in candidates]
    if len(set(names)) < len(names):
        raise InputError(f"latency: expected models of different names, found {', '.join(names)}")
    require_batches(texts, batch_sizes)
    for candidate in candidates:
        require_numbers(candidate.model, texts)
    ready = [(candidate, backend, encode) for candidate in candidates for backend, encode in _backends(candidate)]
    rows: list[LatencyRow] = []
    with tqdm(desc="latency", unit="text", total=len(texts) * repeats * sum(batch_sizes)) as bar:
        for side, of_side in texts.items():
            rows += _time_side(ready, side, of_side, list(batch_sizes) * repeats, bar)
    order = {(candidate.name, backend): place for place, (candidate, backend, _) in enumerate(ready)}
    return sorted(rows, key=lambda row: order[row.model, row.backend])


def require_batches(texts: Mapping[Kind, Sequence[str]], batch_sizes: Sequence[int]) -> None:
    """Look whether each side has texts enough for the largest batch.

    Raises:
        InputError: If not.
    """
    for side, of_side in texts.items():
        if len(of_side) < max(batch_sizes):
            raise InputError(
                f"expected at least {max(batch_sizes)} texts of kind {side} to time a batch, found {len(of_side)}: "
                "name a source with more"
            )


def require_numbers(model: SentenceTransformer, texts: Mapping[Kind, Sequence[str]]) -> None:
    """Look at the vector of the first text of each side: one that holds NaN is made as fast as any other.

    Raises:
        InputError: If it is no vector of numbers.
    """
    first = [of_side[0] for of_side in texts.values()]
    require_finite(model.encode(first, show_progress_bar=False), first, f"the model {model_name(model)}")


def _time_side(
    ready: Sequence[tuple[Candidate, Backend, Encoder]],
    side: Kind,
    texts: Sequence[str],
    sizes: Sequence[int],
    bar: "tqdm[None]",
) -> Iterator[LatencyRow]:
    draw = np.random.default_rng(0)
    batches = [[texts[row] for row in draw.choice(len(texts), size, replace=False)] for size in sizes]
    encoders = {(candidate.name, backend): partial(encode, side) for candidate, backend, encode in ready}
    seconds = in_turns(encoders, _shown(batches, bar))
    drawn = [text for batch in batches for text in batch]
    for candidate, backend, _ in ready:
        tokens = _mean_tokens(candidate.model, side, drawn)
        times = list(zip(sizes, seconds[candidate.name, backend], strict=True))
        for size in dict.fromkeys(sizes):
            of_size = tuple(spent for made, spent in times if made == size)
            yield _row(candidate, backend, side, size, of_size, tokens)


def _shown(batches: Iterable[list[str]], bar: "tqdm[None]") -> Iterator[list[str]]:
    for batch in batches:
        yield batch
        bar.update(len(batch))


def _row(
    candidate: Candidate, backend: Backend, side: Kind, size: int, seconds: Sequence[float], tokens: float
) -> LatencyRow:
    device = torch.device("cpu") if backend in candidate.graphs else candidate.model.device
    return LatencyRow(
        model=candidate.name,
        teacher=candidate.teacher,
        backend=backend,
        side=side,
        batch_size=size,
        seconds=seconds,
        tokens=tokens,
        parameters=sum(weight.numel() for weight in candidate.model.parameters()),
        random_weights=candidate.random_weights,
        device=device.type,
        processor=processor_name(device),
        threads=torch.get_num_threads(),
    )


def _backends(candidate: Candidate) -> Iterator[tuple[Backend, Encoder]]:
    """Yield what can run ``candidate`` here, and says so where its graphs are left out."""
    yield "torch float32", partial(_encode, candidate.model)
    if bfloat16_is_fast(candidate.model.device):
        yield "torch bfloat16", partial(_encode, copy.deepcopy(candidate.model).to(torch.bfloat16))
    for kind, graph in candidate.graphs.items():
        if onnxruntime_is_here():
            yield kind, OnnxEncoder(graph, candidate.model)
        else:
            print(f"{graph} is not timed: pip install 'leaf-st[onnx]'", flush=True)


def _encode(model: SentenceTransformer, side: Kind, texts: Sequence[str]) -> object:
    encode = model.encode_query if side == "query" else model.encode_document
    return encode(list(texts), batch_size=len(texts), show_progress_bar=False)


def _mean_tokens(model: SentenceTransformer, side: Kind, texts: Sequence[str]) -> float:
    prompt, tokenizer = own_prompt(model.prompts, side), own_tokenizer(model)
    encoded = tokenizer.encode_batch([prompt + text for text in texts], add_special_tokens=not is_static(model))
    return statistics.fmean(len(text.ids) for text in encoded)


def processor_name(device: torch.device) -> str:
    """Return what the system calls the processor behind ``device``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
