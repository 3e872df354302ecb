"""Whether anything is lost or damaged when leaf-st is killed, the disk is full, or a byte of a file flips.

Command:  python recipes/benchmarks/chaos.py --all [--output results/chaos] [--seed 0]
          python recipes/benchmarks/chaos.py --part train push --trials 5
Hardware: Linux; two cores. Disk-full trials mount a small tmpfs, for which they need root; as another user they limit
          the size of a file.

Each trial starts a command of leaf-st on tiny models in a process group of its own, disturbs it, and runs the same
command again. The moment of a kill is uniform over the time of an undisturbed run; part, number and seed of a trial
determine the fault. Files, weights and the repository on a loopback hub must then be bit-equal to those of an
undisturbed run, no text may be embedded twice beyond the block in flight, and no temporary file may be left. Finished
trials are lines of OUTPUT/trials.jsonl and are not repeated. The exit code is 1 if a figure is wrong.

To save time, the processes are forks of one that has imported the libraries, also the process in which a push reads the
model as a consumer, and exported graphs are timed on one batch. The figures of the parts are in OUTPUT/chaos.json;
docs/measured/chaos.json is a copy.

Result:   None of 487 trials was wrong, in 13.5 minutes on two cores. docs/benchmarks.md has the table.
"""

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from pathlib import Path
from queue import SimpleQueue
from random import Random

from _chaos import disks, flips, kills, others
from _chaos.children import import_libraries
from _chaos.ground import Ground
from _chaos.trial import Part, Trial, append_trial, read_trials
from tqdm import tqdm

from leaf_st.atomic import write_json
from leaf_st.tables import aligned

_FEW = 20  # trials, which are faster if most of them import nothing for exports
PARTS: dict[str, Part] = {**kills.PARTS, **disks.PARTS, **others.PARTS, **flips.PARTS}


def main() -> None:
    """Make the trials that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--all", action="store_true", help="all parts")
    asked.add_argument("--part", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--trials", type=int, metavar="N", help="trials of each part (default: as many as in docs)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("results/chaos"), metavar="DIR", help="output folder")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="trials at a time (default: 2)")
    options = parser.parse_args()
    counts = {name: options.trials or PARTS[name].trials for name in (PARTS if options.all else options.part)}
    trials = campaign(counts, options.seed, options.output, options.workers)
    rows = summary(trials)
    write_json(options.output / "chaos.json", rows)
    print(aligned([list(rows[0]), *(list(map(str, row.values())) for row in rows)], left=1))
    wrong = [trial for trial in trials if trial.outcome.wrong]
    for trial in wrong:
        print(f"{trial.part} {trial.number}, {trial.outcome.fault}: {trial.outcome.wrong}", file=sys.stderr)
    sys.exit(bool(wrong))


def campaign(counts: dict[str, int], seed: int, output: Path, workers: int = 1) -> list[Trial]:
    """Make the missing trials of the parts in ``counts``, ``workers`` at a time; return all trials of these parts."""
    output.mkdir(parents=True, exist_ok=True)
    kept = {(trial.part, trial.number, trial.seed): trial for trial in read_trials(output / "trials.jsonl")}
    asked = [(name, number, seed) for name, count in counts.items() for number in range(count)]
    missing = [key for key in asked if key not in kept]
    print(f"seed {seed}: {len(asked) - len(missing)} of {len(asked)} trials are finished in {output}", file=sys.stderr)
    if missing:
        import_libraries(export=len(missing) > _FEW)
        shutil.rmtree(output / "work", ignore_errors=True)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, output / "work")
            folders = [(output / "work" / str(worker)).resolve() for worker in range(workers)]
            grounds = [stack.enter_context(closing(Ground(folder))) for folder in folders]
            for trial in _make(grounds, missing):
                append_trial(output / "trials.jsonl", trial)
                kept[trial.part, trial.number, trial.seed] = trial
    return [kept[key] for key in asked]


def _make(grounds: Sequence[Ground], missing: Sequence[tuple[str, int, int]]) -> Iterator[Trial]:
    """Yield the trials ``missing`` as they end; each ground has one trial at a time."""
    free = SimpleQueue[Ground]()
    for ground in grounds:
        free.put(ground)
    wrong = Counter[str]()
    with ThreadPoolExecutor(len(grounds)) as pool:
        running = [pool.submit(_attempt, free, *key) for key in missing]
        try:
            with tqdm(as_completed(running), total=len(running), unit=" trials", mininterval=1) as progress:
                for done in progress:
                    trial = done.result()
                    wrong[trial.part] += bool(trial.outcome.wrong)
                    progress.set_description(trial.part + (f", {wrong.total()} wrong" if wrong.total() else ""))
                    yield trial
        finally:
            pool.shutdown(cancel_futures=True)


def _attempt(free: "SimpleQueue[Ground]", name: str, number: int, seed: int) -> Trial:
    ground = free.get()
    try:
        attempt = PARTS[name].prepare(ground)
        started = time.monotonic()
        outcome = attempt(number, Random(f"{name} {number} {seed}"))
        return Trial(name, number, seed, round(time.monotonic() - started, 3), outcome)
    finally:
        free.put(ground)


def summary(trials: Sequence[Trial]) -> list[dict[str, str | int]]:
    """Return the figures of each part of ``trials``."""
    rows: list[dict[str, str | int]] = []
    for name in dict.fromkeys(trial.part for trial in trials):
        of_part = [trial for trial in trials if trial.part == name]
        of = [trial.outcome for trial in of_part]
        rows.append(
            {
                "part": name,
                "trials": len(of),
                **{key: sum(getattr(each, key) for each in of) for key in ("hit", "refused", "named", "equal")},
                "most texts embedded again": max(each.again for each in of),
                "temporaries": sum(each.temporaries for each in of),
                "wrong": sum(bool(each.wrong) for each in of),
                "seconds": round(sum(trial.seconds for trial in of_part)),
            }
        )
    return rows


if __name__ == "__main__":
    main()
