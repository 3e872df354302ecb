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

Result:   not measured yet
"""

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from _chaos import disks, flips, kills, others
from _chaos.ground import Ground
from _chaos.trial import Part, Trial, append_trial, read_trials
from tqdm import tqdm

from leaf_st.tables import aligned

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
    options = parser.parse_args()
    counts = {name: options.trials or PARTS[name].trials for name in (PARTS if options.all else options.part)}
    trials = campaign(counts, options.seed, options.output)
    print(aligned(table(trials), left=1))
    wrong = [trial for trial in trials if trial.outcome.wrong]
    for trial in wrong:
        print(f"{trial.part} {trial.number}, {trial.outcome.fault}: {trial.outcome.wrong}", file=sys.stderr)
    sys.exit(bool(wrong))


def campaign(counts: dict[str, int], seed: int, output: Path) -> list[Trial]:
    """Make the missing trials of the parts in ``counts``; return all trials of these parts."""
    output.mkdir(parents=True, exist_ok=True)
    kept = {(trial.part, trial.number, trial.seed): trial for trial in read_trials(output / "trials.jsonl")}
    asked = [(name, number, seed) for name, count in counts.items() for number in range(count)]
    missing = [key for key in asked if key not in kept]
    print(f"seed {seed}: {len(asked) - len(missing)} of {len(asked)} trials are finished in {output}", file=sys.stderr)
    if missing:
        shutil.rmtree(output / "work", ignore_errors=True)
        ground = Ground((output / "work").resolve())
        try:
            kept |= _make(ground, missing, output / "trials.jsonl")
        finally:
            ground.close()
            shutil.rmtree(output / "work")
    return [kept[key] for key in asked]


def _make(ground: Ground, missing: list[tuple[str, int, int]], file: Path) -> dict[tuple[str, int, int], Trial]:
    made, wrong, prepared = {}, Counter[str](), ""
    with tqdm(missing, unit=" trials", smoothing=0.1, mininterval=1) as progress:
        for key in progress:
            name, number, seed = key
            if name != prepared:
                attempt, prepared = PARTS[name].prepare(ground), name
            started = time.monotonic()
            outcome = attempt(number, Random(f"{name} {number} {seed}"))
            made[key] = Trial(name, number, seed, round(time.monotonic() - started, 3), outcome)
            append_trial(file, made[key])
            wrong[name] += bool(outcome.wrong)
            progress.set_description(f"{name}{f', {wrong[name]} wrong' if wrong[name] else ''}")
    return made


def table(trials: Sequence[Trial]) -> list[list[str]]:
    """Return the lines of the table, a part each, under a head."""
    lines = [["part", "trials", "hit", "refused", "equal", "texts again, most", "temporaries", "wrong"]]
    for name in dict.fromkeys(trial.part for trial in trials):
        of = [trial.outcome for trial in trials if trial.part == name]
        counts = [len(of), *(sum(getattr(each, key) for each in of) for key in ("hit", "refused", "equal"))]
        counts += [max(each.again for each in of), sum(each.temporaries for each in of)]
        counts.append(sum(bool(each.wrong) for each in of))
        lines.append([name, *map(str, counts)])
    return lines


if __name__ == "__main__":
    main()
