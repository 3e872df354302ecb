"""Training on a GPU: samples and tokens per second, the use of the matrix units, and where the time goes.

Command:  python recipes/benchmarks/gpu_training.py --texts TEXTS.parquet [--rows 100000] [--output FILE.json]

The student has the shape of the paper's leaf-ir: six layers of width 384 and a projection to 768. The teacher is
all-MiniLM-L6-v2 with a rotation into 768 dimensions, because only the shape of a target matters for the speed. Texts
have the kinds of a real run: queries, sentences and documents. Each way trains for a fixed number of steps; the first
steps, in which graphs are captured, are not counted. The script also prints the hours that the paper's 192M samples
take.

- "sentence-transformers" trains as EmbedDistillLoss documents, with default arguments and with bf16.
- "one by one" is leaf_st with a launch of each kernel; "graphs" is leaf_st's default on a GPU.
- MFU is the rate of the floating-point operations that the tokens of the texts need, without padding, as a share of
  the rate in a large bfloat16 product on the same GPU.
- "GPU busy" is the share of time in which a kernel runs, from torch's profiler in the steps after the timed ones.

Result:   H200: 5.3x as many samples/s as sentence-transformers' recipe with batches of 32 (3,036 and 573), 14.6x with
          batches of 2,048. docs/benchmarks.md has the table, and what was not measured.
"""

import argparse
import gc
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback

from leaf_st.models.load import load_model
from leaf_st.models.tokens import token_counts
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.student.new import new_student
from leaf_st.student.projection import fit_projection
from leaf_st.tables import aligned
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts.read import read_texts
from leaf_st.training.arguments import training_arguments
from leaf_st.training.sampler import LengthGroupedBatchSampler
from leaf_st.training.trainer import LeafTrainer
from leaf_st.zoo import MINILM

WIDTH = 768
PAPER_SAMPLES = 30 * 200_000 * 32  # leaf-ir: epochs, steps of an epoch, batch size
WARM_UP, PROFILED = 100, 40
# Names of kernels, in lower case, by the part of a step that they compute.
PARTS = {
    "products": ("gemm", "cutlass", "cublas", "nvjet", "wgmma"),
    "attention": ("fmha", "flash", "attention", "sdpa", "softmax"),
    "optimizer": ("adam", "multi_tensor", "foreach", "lpnorm"),
    "embeddings": ("embedding", "index"),
    "copies": ("memcpy", "memset", "fill"),
}


class Clock(TrainerCallback):
    """Times the steps after the warm-up, and then profiles some steps, if there is a GPU."""

    def __init__(self, steps: int) -> None:
        self._first, self._last = WARM_UP, WARM_UP + steps
        self._started = 0.0
        self._profile: profile | None = None
        self.seconds = 0.0
        self.busy: float | None = None
        self.parts: dict[str, float] = {}

    @property
    def steps(self) -> int:
        """Steps of the training."""
        return self._last + (PROFILED if torch.cuda.is_available() else 0)

    def on_step_end(self, args: object, state: Any, control: object, **more: object) -> None:  # noqa: ANN401
        """Wait for the GPU at both ends of each part, and read the clock."""
        if state.global_step not in (self._first, self._last, self._last + PROFILED):
            return
        synchronize()
        seconds = time.perf_counter() - self._started
        if state.global_step == self._last:
            self.seconds = seconds
            if torch.cuda.is_available():
                self._profile = profile(activities=[ProfilerActivity.CUDA])
                self._profile.__enter__()
        elif self._profile is not None:
            self._profile.__exit__(None, None, None)
            self.busy, self.parts = _summary(self._profile, seconds)
        self._started = time.perf_counter()


def _summary(profiled: profile, seconds: float) -> tuple[float, dict[str, float]]:
    """Return the share of ``seconds`` in which kernels run, and the share of each part in their time, in percent."""
    times: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        name = event.key.lower()
        part = next((part for part, words in PARTS.items() if any(word in name for word in words)), "elementwise")
        times[part] += event.self_device_time_total
    total = sum(times.values())
    shares = {part: round(100 * value / total, 1) for part, value in sorted(times.items(), key=lambda item: -item[1])}
    return 100 * total / 1e6 / seconds, shares


@dataclass
class Row:
    """One way of training.

    Attributes:
        way: What trains, and how.
        batch: Samples of a step.
        samples: Samples per second.
        tokens: Tokens of texts per second, without padding.
        mfu: Use of the matrix units, in percent.
        hours: Hours for the paper's samples.
        busy: Share of time in which a kernel runs, in percent; None if not profiled.
        parts: Percent of the kernels' time by part of a step.
    """

    way: str
    batch: int
    samples: float
    tokens: float
    mfu: float
    hours: float
    busy: float | None = None
    parts: dict[str, float] | None = None


class Bench:
    """Texts, targets and the initial student of all ways."""

    def __init__(self, model: str, texts: str, rows: int, folder: Path) -> None:
        self.folder = folder
        self.recipe = Recipe(
            name="gpu-training",
            texts=TextsSpec(source=texts, limit=rows, sentences=True),
            teacher=TeacherSpec(model=rotated(model, folder / "teacher")),
            student=StudentSpec(backbone=model),
            training=TrainingSpec(held_out_rows=1, end_learning_rate=1e-5, arguments={"learning_rate": 1e-4}),
        )
        found = list(islice(read_texts(self.recipe.texts, Counter()), rows))
        teacher, started = open_teacher(self.recipe.teacher), time.perf_counter()
        store = precompute(found, teacher, folder / "store", total=len(found))
        assert store is not None  # one process makes the complete store
        print(f"embedded {len(found) / (time.perf_counter() - started):,.0f} texts/s, with writing the store")
        self.store: EmbeddingStore = store
        student = self.student()
        sample = range(0, len(store), max(1, len(store) // 4096))
        fit_projection(student, store.prompted(sample), store.embeddings(sample))
        self.start = {name: weight.clone() for name, weight in student.state_dict().items()}
        self.lengths = np.concatenate(
            [token_counts(student, store.prompted(range(at, min(at + 8192, rows)))) for at in range(0, rows, 8192)]
        )
        encoder = student[0].model.encoder
        self.weights = sum(weight.numel() for weight in encoder.parameters())
        self.layers, self.hidden = len(encoder.layer), student[0].get_embedding_dimension()
        self.peak = product_rate()

    def student(self) -> SentenceTransformer:
        """Return the initial student."""
        torch.manual_seed(0)
        student = new_student(self.recipe, self.store.fingerprint)
        if hasattr(self, "start"):
            student.load_state_dict(self.start)
        return student

    def work(self, rows: int) -> float:
        """Return the floating-point operations of ``rows`` samples, forward and backward, on tokens of texts.

        A weight needs six operations for a token, and attention 12 times layers x width x length.
        """
        mean, square = self.lengths.mean(), (self.lengths.astype(float) ** 2).mean()
        attention = 12 * self.layers * self.hidden * square
        return float(rows * (6 * self.weights * mean + attention + 6 * self.hidden * WIDTH))

    def row(self, way: str, batch: int, rows: int, seconds: float) -> Row:
        """Return the line of a way that trained on ``rows`` samples in ``seconds``."""
        rate = rows / seconds
        mfu = 100 * self.work(rows) / seconds / self.peak
        return Row(way, batch, rate, rate * float(self.lengths.mean()), mfu, PAPER_SAMPLES / rate / 3600)


def rotated(model: str, folder: Path) -> str:
    """Save ``model`` with a random rotation into ``WIDTH`` dimensions to ``folder``."""
    teacher = load_model(model, role="teacher", precision="float32", device="cpu")
    width = teacher.get_embedding_dimension()
    dense = Dense(width, WIDTH, bias=False, activation_function=nn.Identity())
    torch.manual_seed(0)
    nn.init.orthogonal_(dense.linear.weight)
    teacher.append(dense)
    teacher.save_pretrained(str(folder), create_model_card=False)
    return str(folder)


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def product_rate() -> float:
    """Return the operations per second of a large product of random bfloat16 matrices."""
    size = 8192 if torch.cuda.is_available() else 2048
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    for _ in range(3):
        left @ right
    synchronize()
    started, repeats = time.perf_counter(), 10
    for _ in range(repeats):
        left @ right
    synchronize()
    return repeats * 2 * size**3 / (time.perf_counter() - started)


def sentence_transformers_way(bench: Bench, batch: int, steps: int, callback: TrainerCallback, **more: object) -> None:
    """Train as sentence-transformers documents."""
    student = bench.student()
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1  # the default of BERT; leaf_st builds students without dropout
    rows = range(min(len(bench.store), steps * batch))
    SentenceTransformerTrainer(
        model=student,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(bench.folder / "checkpoints"),
            per_device_train_batch_size=batch,
            max_steps=steps,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **more,
        ),
        train_dataset=datasets.Dataset.from_dict(
            {"text": bench.store.prompted(rows), "label": bench.store.embeddings(rows).tolist()}
        ),
        loss=EmbedDistillLoss(student, distance_metric="l2"),
        callbacks=[callback],
    ).train()


def leaf_way(
    bench: Bench, batch: int, steps: int, callback: TrainerCallback, graphs: bool = True, **more: object
) -> None:
    """Train with leaf_st."""
    quiet = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True}
    arguments = {**quiet, "per_device_train_batch_size": batch, "max_steps": steps, **more}
    spec = replace(bench.recipe.training, arguments={**bench.recipe.training.arguments, **arguments})
    student = bench.student()
    args = training_arguments(replace(bench.recipe, training=spec), bench.folder, student.device.type)
    trainer = LeafTrainer(student, bench.store, spec, args, callbacks=[callback])
    if not graphs:
        trainer._graphed = None  # the trainer has no option for this: graphs compute the same values
    trainer.train()


def measure(bench: Bench, name: str, way: Callable[..., None], batch: int, steps: int, **more: object) -> Row:
    """Return the rate of ``way``, and what the GPU does meanwhile."""
    clock = Clock(steps)
    way(bench, batch, clock.steps, clock, **more)
    gc.collect()
    torch.cuda.empty_cache()
    row = bench.row(name, batch, batch * steps, clock.seconds)
    return replace(row, busy=clock.busy, parts=clock.parts)


def padding(bench: Bench, batch: int) -> float:
    """Return the percentage of a training's tokens that are padding, with lengths of graphs."""
    rows = LengthGroupedBatchSampler(bench.lengths, batch)
    read = sum(-(-int(bench.lengths[part].max()) // 8) * 8 * len(part) for part in rows)
    return 100 * (1 - float(bench.lengths.sum()) / read)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True, help="file of texts")
    parser.add_argument("--model", default=MINILM, help="teacher before its rotation, and backbone")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=600, help="steps of each way with 32 samples")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 512], help="batch sizes of leaf_st")
    parser.add_argument("--output", type=Path, help="file for the rows, in JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.model, options.texts, options.rows, Path(folder))
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        print(f"{device}, bfloat16 products {bench.peak / 1e12:,.0f} TFLOP/s, {bench.lengths.mean():.1f} tokens a text")
        ways = [
            *(
                ("leaf_st, graphs", leaf_way, batch, max(200, options.steps * 32 // batch), {})
                for batch in options.batches
            ),
            ("leaf_st, one by one", leaf_way, 32, options.steps // 2, {"graphs": False}),
            # Targets that are lists of numbers make steps slow, so these ways have few steps.
            ("sentence-transformers, bf16", sentence_transformers_way, 32, options.steps // 8, {"bf16": True}),
            ("sentence-transformers, default", sentence_transformers_way, 32, options.steps // 8, {}),
        ]
        rows = []
        for name, way, batch, steps, arguments in ways:
            rows.append(measure(bench, name, way, batch, steps, **arguments))
            print(rows[-1], flush=True)
            if options.output:
                options.output.write_text(json.dumps([asdict(row) for row in rows], indent=1))
        shares = {batch: f"{padding(bench, batch):.1f} %" for batch in options.batches}
        print(f"padding, by batch size: {shares}")
    header = ["way", "batch", "samples/s", "tokens/s", "MFU", "hours for 192M", "GPU busy", "time of the kernels"]
    lines = [
        [
            *(row.way, str(row.batch), f"{row.samples:,.0f}", f"{row.tokens:,.0f}", f"{row.mfu:.1f} %"),
            *(f"{row.hours:.1f}", "-" if row.busy is None else f"{row.busy:.0f} %"),
            ", ".join(f"{part} {share:.0f}" for part, share in (row.parts or {}).items()),
        ]
        for row in rows
    ]
    print(aligned([header, *lines]))


if __name__ == "__main__":
    main()
