"""Speed of training while another process keeps a core busy, with and without threads by load.

Command:  python recipes/benchmarks/busy_neighbour.py [--rounds 3] [--nice 19]

Each round trains three layers of all-MiniLM-L6-v2 in bfloat16 on 1,536 docstrings of installed packages, in batches of
32, in four settings: alone or beside a process that computes without a pause, and with leaf_st's default (threads by
load, `leaf_st/training/threads.py`) or with a fixed number of threads (OMP_NUM_THREADS). The second of two epochs is
timed. The neighbour has a session of its own, because Linux may give each session the same share, whatever its
priority. The script prints the median of the rounds.

Result:   Two cores of an EPYC with AVX-512 and bfloat16 units, a busy process of the same priority, two rounds. With
          threads by load, 65 % of the speed is kept (495 and 758 ms a step); with fixed threads, 47 % (488 and 1,043
          ms).
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

from leaf_st.recipe import Recipe, StudentSpec, TextsSpec
from leaf_st.recipe.texts import DOCSTRINGS
from leaf_st.student.new import new_student
from leaf_st.tables import aligned
from leaf_st.teacher.open import open_teacher
from leaf_st.texts.read import read_texts
from leaf_st.training.budget import measure_pace, trial_texts

recipe = Recipe(name="busy-neighbour", texts=TextsSpec(source=DOCSTRINGS), student=StudentSpec(layers=(0, 4, 5)))
BY_LOAD, FIXED = "threads by load", "fixed threads"
WAYS: dict[str, dict[str, str]] = {BY_LOAD: {}, FIXED: {"OMP_NUM_THREADS": str(os.cpu_count())}}


def milliseconds_per_step() -> float:
    """Train in this process, and return the time of a step."""
    teacher = open_teacher(replace(recipe.teacher, precision="float32"))
    texts = list(islice(read_texts(recipe.texts, Counter()), trial_texts(recipe)))
    return 1000 * measure_pace(recipe, teacher.fingerprint, texts, new_student(recipe, teacher.fingerprint)).step


def in_new_process(environment: dict[str, str]) -> float:
    """Return `milliseconds_per_step` of a new process, because torch reads the variables at its start."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(command, env=inherited | environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


@contextmanager
def busy_process(nice: int) -> Iterator[None]:
    """Keep a core busy with a process whose niceness is ``nice`` above this one's."""
    loop = f"import os; os.nice({nice})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", loop], start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nice", type=int, default=0, help="niceness of the busy process, 0 to 19 (default: 0)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(milliseconds_per_step())
        return
    alone: dict[str, list[float]] = {way: [] for way in WAYS}
    beside: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, environment in WAYS.items():
            alone[way].append(in_new_process(environment))
        with busy_process(options.nice):
            for way, environment in WAYS.items():
                beside[way].append(in_new_process(environment))
    rows = [["", "ms a step alone", "beside a busy process", "speed kept"]]
    for way in WAYS:
        quiet, busy = statistics.median(alone[way]), statistics.median(beside[way])
        rows.append([way, f"{quiet:.0f}", f"{busy:.0f}", f"{100 * quiet / busy:.0f} %"])
    print(aligned(rows))


if __name__ == "__main__":
    main()
