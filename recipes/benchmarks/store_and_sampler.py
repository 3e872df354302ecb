"""Time and memory of a store with 1M rows and a sampler over 100M rows, each in a new process.

Command:  python recipes/benchmarks/store_and_sampler.py [--rows 1000000] [--folder FOLDER]

The script writes random float16 vectors of dimension 1024 to a store (2 GB for 1M rows; --folder keeps the store),
opens the store, and reads batches of 32 random rows, with all shards mapped and their pages in the system's cache.
Resident memory is the growth of the process during a step. The script runs on Linux.

Result:   Opening the store takes 0.2 ms and 0.1 MB of resident memory, reading 32 rows 0.04 ms; the sampler over 100M
          rows takes 4 MB.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.shard_rows import ROWS_PER_SHARD
from leaf_st.teacher.store import STORE_MANIFEST, EmbeddingStore
from leaf_st.texts import Text

WIDTH, BATCH, READS = 1024, 32, 2000


class RandomTeacher:
    """A teacher that returns the same random vectors for every block, because their values do not matter here."""

    def __init__(self) -> None:
        self.fingerprint = Fingerprint(
            "random", "0", {"query": "", "document": ""}, None, "unknown", "float32", False, WIDTH
        )
        self._vectors = np.random.default_rng(0).normal(size=(ROWS_PER_SHARD, WIDTH)).astype(np.float32)

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return random vectors, shape (n, 1024)."""
        return self._vectors[: len(texts)]

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return random vectors, shape (n, 1024)."""
        return self._vectors[: len(texts)]


class SimulatedLengths:
    """Lengths of rows that do not exist, computed on request."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, rows: slice) -> NDArray[np.uint16]:
        """Return lognormal lengths around 50 tokens."""
        start, stop, _ = rows.indices(self._rows)
        return np.random.default_rng(start).lognormal(4, 0.7, stop - start).astype(np.uint16)


def make_store(folder: Path, rows: int) -> None:
    """Write the store, or resume writing."""

    def texts() -> Iterator[Text]:
        return (Text(f"text number {row} of a benchmark", "document") for row in range(rows))

    precompute(texts(), RandomTeacher(), folder, skipped=Counter(), total=rows)


def resident() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measure_store(folder: Path) -> None:
    """Print the time to open the store and to read batches."""
    before, started = resident(), time.perf_counter()
    store = EmbeddingStore(folder)
    opened, added = time.perf_counter() - started, resident() - before
    print(f"opening a store of {len(store):,} rows: {opened * 1e3:.1f} ms, {added:.1f} MB resident")
    rng = np.random.default_rng(0)
    batches = rng.integers(len(store), size=(READS, BATCH)).tolist()
    for batch in batches:
        store.embeddings(batch)
    times = []
    for batch in batches:
        started = time.perf_counter()
        store.embeddings(batch)
        times.append(time.perf_counter() - started)
    print(f"reading {BATCH} targets of {WIDTH} float16: median {statistics.median(times) * 1e3:.3f} ms")


def measure_sampler(rows: int) -> None:
    """Print memory and time of the batches of an epoch over ``rows`` rows."""
    from leaf_st.training.sampler import LengthGroupedBatchSampler

    before, started = resident(), time.perf_counter()
    count, peak = 0, 0.0
    for count, _ in enumerate(LengthGroupedBatchSampler(SimulatedLengths(rows), BATCH), start=1):
        if count % 2048 == 0:
            peak = max(peak, resident() - before)
        if count == 20_000:
            break
    seconds = time.perf_counter() - started
    print(f"sampler over {rows:,} rows: {peak:.0f} MB resident at most, {seconds / count * 1e3:.3f} ms per batch")


def main() -> None:
    """Run each part in a new process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=["make", "store", "sampler"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "make":
        make_store(options.folder, options.rows)
    elif options.part == "store":
        measure_store(options.folder)
    elif options.part == "sampler":
        measure_sampler(100 * options.rows)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder or Path(temporary)
            parts = ["store", "sampler"] if (folder / STORE_MANIFEST).is_file() else ["make", "store", "sampler"]
            for part in parts:
                command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
                subprocess.run([*command, "--rows", str(options.rows)], check=True, env=os.environ)


if __name__ == "__main__":
    main()
