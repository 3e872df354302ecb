"""A store of a billion rows: opening, held-out rows, sampling, reading, resuming and the first training step.

Command:  python recipes/benchmarks/billion_rows.py FOLDER [--rows 1000000000]

The script simulates a store of 768-dimensional float16 vectors, as `leaf-st embed` would write it: 32,768 rows a shard,
1.5 TB in 30,518 files. The files are sparse: only the hashes by which rows are held out are on the disk (8 GB), the
texts are empty, and all vectors are zero. No checksums are compared, as for any store of more than 64 GiB. Each
part runs in a new process. Memory is the peak of the process (VmHWM), with the pages of mapped files; the imports of
torch and sentence-transformers are a part of the memory of sampling and training. The script runs on Linux.

Result:   Two cores of an EPYC at a load of 20: elapsed times are longer than on an idle machine. Opening takes
          0.2 s and 97 MB, listing the shards 5 s, choosing 2,048 held-out rows 297 s (144 s of CPU), and finding the
          rows that overlap them 622 s (170 s of CPU, 400 MB). Both results are kept in files. With these files, a
          training makes its trainer in 553 s (15 s of CPU) and its first step in 20 s, with 946 MB at most, of which
          torch and the student have 605.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf_st.sealed import write_sealed
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.shard import find_shards
from leaf_st.teacher.shard_rows import default_rows_per_shard
from leaf_st.teacher.store import (
    CUT_AT,
    FINGERPRINT,
    FORMAT,
    HELD_OUT_BY_CONTENT,
    STORE_MANIFEST,
    UNIQUE_BY_PROMPT,
    EmbeddingStore,
)
from leaf_st.texts import Text

WIDTH, BATCH, HELD_OUT, STEPS = 768, 32, 2048, 20
PARTS = ("open", "held-out", "read", "sample", "resume", "train")


def make_store(folder: Path, rows: int) -> None:
    """Write the simulated store."""
    size = default_rows_per_shard(rows, [Text("x" * 300, "document")], 2 * WIDTH)
    fingerprint = Fingerprint("simulated", "0", {"": ""}, None, "unknown", "float32", False, WIDTH)
    header = {"format": FORMAT, "fingerprint": fingerprint.to_dict(), "dtype": "float16", "rows_per_shard": size}
    folder.mkdir(parents=True)
    write_sealed(
        folder / FINGERPRINT,
        {**header, "unique_by": UNIQUE_BY_PROMPT, "held_out_by": HELD_OUT_BY_CONTENT, CUT_AT: None},
    )
    names, template = [], b""
    for index in range(-(-rows // size)):
        count = min(size, rows - index * size)
        if len(template) == 0 or count < size:
            template = _empty_shard(count)
            place = template.index(np.full(count, -1, "<i8").tobytes())
        rng = np.random.default_rng(index)
        contents = rng.integers(np.iinfo(np.int64).min, np.iinfo(np.int64).max, size=count, dtype="<i8")
        name = f"shard-{index:08d}-{hashlib.blake2b(contents, digest_size=8).hexdigest()}.arrow"
        with (folder / name).open("wb") as file:
            _write_sparsely(file.fileno(), template, {place: contents.tobytes()})
        names.append(name)
    write_sealed(folder / STORE_MANIFEST, {"rows": rows, "skipped": {}, "shards": names})


def _empty_shard(rows: int) -> bytes:
    """Return a shard with empty texts of the kind "", vectors of zeros, and the content -1, to replace."""
    zeros, empty = np.zeros(rows, np.int64), pa.array([""] * rows, pa.string())
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * WIDTH, np.float16)), WIDTH)
    batch = pa.record_batch(
        {
            "row": pa.array(zeros),
            "id": pa.array(zeros),
            "content": pa.array(zeros - 1),
            "sentences": pa.array([[]] * rows, pa.list_(pa.int64())),
            "kind": empty,
            "text": empty,
            "embedding": vectors,
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _write_sparsely(file: int, template: bytes, changes: dict[int, bytes]) -> None:
    """Write the parts of ``template`` that are not zero, and ``changes`` by place."""
    os.ftruncate(file, len(template))
    (place, change), block = next(iter(changes.items())), 4096
    for start in [*range(0, place, block), *range(len(template) - block, len(template), block)]:
        if any(piece := template[start : min(start + block, place) if start < place else None]):
            os.pwrite(file, piece, start)
    os.pwrite(file, change, place)


def timed(name: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Print time and peak memory of ``work``; return its result."""
    started, before = time.perf_counter(), os.times()
    result = work()
    seconds, now = time.perf_counter() - started, os.times()
    status = Path("/proc/self/status").read_text()
    peak, mapped = (int(status.split(f"{key}:")[1].split()[0]) / 1e3 for key in ("VmHWM", "RssFile"))
    cpu = f"{now.user - before.user:.2f} s of CPU and {now.system - before.system:.2f} s in the system"
    print(f"{name:<46} {seconds:8.2f} s, {cpu}, {peak:,.0f} MB at most, {mapped:,.0f} MB of files now", flush=True)
    return result


def measure_open(folder: Path) -> None:
    """Open the store, and list its files as the embedding does when it resumes."""
    store = timed("open", lambda: EmbeddingStore(folder))
    print(f"{len(store):,} rows")
    timed("list the shards, as a resumed embedding does", lambda: find_shards(folder))


def measure_held_out(folder: Path) -> None:
    """Choose the held-out rows, and the rows that overlap them."""
    store = EmbeddingStore(folder)
    held_out = timed(f"choose {HELD_OUT} held-out rows", lambda: store.held_out(HELD_OUT))
    timed("find the rows that overlap them", lambda: store.untrained(held_out))


def measure_read(folder: Path) -> None:
    """Read batches of random rows, each of another shard."""
    store, rng = EmbeddingStore(folder), np.random.default_rng(0)

    def read(count: int, rows: int) -> None:
        for batch in rng.integers(len(store), size=(count, rows)):
            store.embeddings(batch.tolist())

    timed(f"read 100 batches of {BATCH} random rows", lambda: read(100, BATCH))


def measure_sample(folder: Path) -> None:
    """Start the sampler of the training; skip the batches of 100,000 steps, as a resumed training does."""
    from leaf_st.training.sampler import LengthGroupedBatchSampler

    class Constant:
        def __len__(self) -> int:
            return len(store)

        def __getitem__(self, rows: slice) -> NDArray[np.uint16]:
            start, stop, _ = rows.indices(len(store))
            return np.random.default_rng(start).lognormal(4, 0.7, stop - start).astype(np.uint16)

    store = EmbeddingStore(folder)
    leave_out = np.sort(np.random.default_rng(0).choice(len(store), HELD_OUT))
    batches = iter(LengthGroupedBatchSampler(Constant(), BATCH, leave_out=leave_out))
    timed("first batch of the sampler", lambda: next(batches))
    timed("skip the batches of 100,000 steps", lambda: sum(1 for _ in islice(batches, 100_000)))


def measure_resume(folder: Path) -> None:
    """Make the data set of a training twice; the second time, its table exists."""
    store = EmbeddingStore(folder)
    timed("write the table of the data set", lambda: store.to_dataset(with_lengths=False))
    timed("open the table again", lambda: store.to_dataset(with_lengths=False))


def measure_train(folder: Path) -> None:
    """Train a student of three layers, in the shape of leaf-mini, for some steps."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from leaf_st.recipe import Recipe, TrainingSpec
    from leaf_st.training.arguments import training_arguments
    from leaf_st.training.trainer import LeafTrainer

    base = folder.with_name(f"{folder.name}-student")
    base.mkdir(exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(30517))]
    (base / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(base / "vocab.txt")).save_pretrained(base)
    BertModel(
        BertConfig(
            vocab_size=len(words), hidden_size=384, num_hidden_layers=3, num_attention_heads=12, intermediate_size=1536
        )
    ).save_pretrained(base)
    dense = Dense(384, WIDTH, bias=False, activation_function=torch.nn.Identity())
    transformer = Transformer(str(base), max_seq_length=256)
    student = SentenceTransformer(modules=[transformer, Pooling(384), dense], device="cpu")
    training = TrainingSpec(
        held_out_rows=HELD_OUT,
        arguments={"max_steps": STEPS, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False},
    )
    recipe = Recipe("billion", training=training)
    arguments = training_arguments(recipe, folder.with_name(f"{folder.name}-run"), "cpu")
    arguments.eval_on_start = False
    timed("memory after the imports and the student", lambda: None)
    store = EmbeddingStore(folder)
    trainer = timed("make the trainer", lambda: LeafTrainer(student, store, training, arguments))
    trainer.args.max_steps = 1
    timed("first step", trainer.train)
    trainer.args.max_steps = STEPS
    timed(f"{STEPS} steps", trainer.train)


def main() -> None:
    """Make the store if it does not exist, and run each part in a new process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the simulated store, which is kept")
    parser.add_argument("--rows", type=int, default=1_000_000_000)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is None:
        if not (options.folder / STORE_MANIFEST).is_file():
            timed("make the simulated store", lambda: make_store(options.folder, options.rows))
        for part in PARTS:
            print(f"\n{part}", flush=True)
            subprocess.run([sys.executable, __file__, str(options.folder), "--part", part], check=True)
        return
    measure = {
        "open": measure_open,
        "held-out": measure_held_out,
        "read": measure_read,
        "sample": measure_sample,
        "resume": measure_resume,
        "train": measure_train,
    }
    measure[options.part](options.folder)


if __name__ == "__main__":
    main()
