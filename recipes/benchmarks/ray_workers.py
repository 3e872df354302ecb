"""Rate of Ray workers against one process, and how many texts a second the process that reads and writes can give out.

Command:  python recipes/benchmarks/ray_workers.py --texts TEXTS.parquet [--rows 8192] [--workers 2]

`leaf-st embed` with all-MiniLM-L6-v2, once in one process and once with workers of Ray that divide the same cores.
Starting Ray and loading the teacher take the same time for any number of texts, so the rates are those of the last
texts: of ROWS texts less those of a quarter of ROWS. The process that runs the command reads the texts, makes them
unique, cuts them to the student's length and writes the shards; its CPU time for a text limits the rate of all workers
together.

Result:   Two cores of an EPYC, --rows 3072: 194 texts/s with two workers, 197 in one process. The command's own process
          needs 0.03 ms of CPU for a text, so it could give out about 31,000 texts a second.
"""

import argparse
import tempfile
import time
from pathlib import Path

from leaf_st.cli.main import main as leaf_st
from leaf_st.tables import aligned

RECIPE = """
from leaf_st.recipe import Recipe, StudentSpec, TextsSpec, TrainingSpec
recipe = Recipe(
    name="rates",
    texts=TextsSpec(source={source!r}, limit={rows}),
    student=StudentSpec(layers=(0, 4, 5)),
    training=TrainingSpec(arguments={{"use_cpu": True}}),
)
"""


def embed(folder: Path, source: str, rows: int, *engine: str) -> tuple[float, float]:
    """Embed ``rows`` texts into a new store; return the seconds and the CPU seconds of this process."""
    folder.mkdir()
    recipe = folder / "recipe.py"
    recipe.write_text(RECIPE.format(source=source, rows=rows), encoding="utf-8")
    started, used = time.perf_counter(), time.process_time()
    if code := leaf_st(["embed", str(recipe), "--output", str(folder / "run"), *engine]):
        raise SystemExit(code)
    return time.perf_counter() - started, time.process_time() - used


def main() -> None:
    """Print the rates and the CPU time of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True, help="file of texts")
    parser.add_argument("--rows", type=int, default=8192, help="texts to embed (default: 8192)")
    parser.add_argument("--workers", type=int, default=2, help="workers of Ray (default: 2)")
    options = parser.parse_args()
    source, few = str(Path(options.texts).resolve()), options.rows // 4
    ways = {"one process": (), f"{options.workers} workers": ("--ray", "local", "--workers", str(options.workers))}
    lines = [["", "texts/s", "CPU ms a text of this process", "texts/s that this process can give out"]]
    with tempfile.TemporaryDirectory() as folder:
        embed(Path(folder, "first"), source, few)  # imports the libraries
        for name, engine in ways.items():
            short, long = (embed(Path(folder, f"{name} {rows}"), source, rows, *engine) for rows in (few, options.rows))
            seconds, used = (after - before for before, after in zip(short, long, strict=True))
            rows = options.rows - few
            lines.append(
                [
                    name,
                    f"{rows / seconds:.1f}",
                    *([f"{1e3 * used / rows:.2f}", f"{rows / used:,.0f}"] if engine else ["", ""]),
                ]
            )
    print(aligned(lines))


if __name__ == "__main__":
    main()
