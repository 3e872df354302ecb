"""Rate and memory of making a store from vectors that exist already (`teacher.vector_column`).

Command:  python recipes/benchmarks/given_vectors.py [--rows 1000000] [--folder FOLDER]

The script writes a parquet file of random texts and float32 vectors of dimension 1024 in one row group, which is what
pyarrow writes by default (4.1 GB for 1M rows; --folder keeps the file). A new process makes a float16 store of the file
with the reader, the checks and the teacher of `leaf-st embed`. The rate is the size of the file's vectors divided by
the time of the process without imports; the memory is the largest resident memory of the process, with imports. The
script runs on Linux.

Result:   2 cores, 1M rows: 19.2 s, 213 MB/s; 260 MB resident, of which 107 MB after the imports. `leaf-st embed` needs
          about 400 MB more, because it also builds the student. With one statement of SQLite per text, and without the
          fast path for ASCII texts, the rate was 188 MB/s on the same table. The rate is 150 MB/s if the script does
          not wait until the disk has written the table.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH, BLOCK = 1024, 4096
TABLE, STORE = "table.parquet", "store"


def make_table(path: Path, rows: int) -> None:
    """Write the parquet file in one row group; blocks of rows share their vectors, which saves memory."""
    vectors = np.random.default_rng(0).normal(size=(BLOCK, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    block = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), WIDTH)
    texts = pa.array(
        [f"text number {number} of a benchmark about vectors that exist already" for number in range(rows)]
    )
    blocks = [block[: min(BLOCK, rows - first)] for first in range(0, rows, BLOCK)]
    table = pa.table({"text": texts, "vector": pa.chunked_array(blocks)})
    pq.write_table(table, path, use_dictionary=False, row_group_size=rows)
    os.sync()  # the disk would write the table while the store is made


def make_store(folder: Path) -> None:
    """Make the store, and print rate and memory."""
    from leaf_st.recipe import TeacherSpec, TextsSpec
    from leaf_st.teacher.open import open_teacher, usable_texts
    from leaf_st.teacher.precompute import precompute
    from leaf_st.texts.read import read_texts

    imported = largest_memory()
    started, cpu, skipped = time.perf_counter(), time.process_time(), Counter[str]()
    texts = TextsSpec(source=str(folder / TABLE))
    teacher = open_teacher(TeacherSpec(model="random", vector_column="vector", table=texts))
    rows = usable_texts(teacher, read_texts(texts, skipped, prompts=teacher.prompts), skipped)
    store = precompute(rows, teacher, folder / STORE, skipped=skipped)
    assert store is not None
    seconds = time.perf_counter() - started
    size, peak = len(store) * WIDTH * 4 / 1e6, largest_memory()
    cores = (time.process_time() - cpu) / seconds
    print(
        f"{len(store):,} rows, {size:,.0f} MB of float32 vectors: {seconds:.1f} s, {size / seconds:,.0f} MB/s, "
        f"{cores:.1f} cores busy"
    )
    print(f"largest resident memory {peak:,.0f} MB, of which {imported:,.0f} MB after the imports")


def largest_memory() -> float:
    """Return the largest resident memory of this program in MB; ru_maxrss would include the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def main() -> None:
    """Write the table, and make the store in a new process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=["store"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "store":
        make_store(options.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / TABLE).is_file():
            make_table(folder / TABLE, options.rows)
        subprocess.run([sys.executable, __file__, "--part", "store", "--folder", str(folder)], check=True)


if __name__ == "__main__":
    main()
