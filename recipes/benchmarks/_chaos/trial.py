"""One trial of a part: what was done, and what was wrong afterwards."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from _chaos.ground import Ground, temporaries


@dataclass(frozen=True)
class Outcome:
    """What came of a fault.

    Attributes:
        fault: What was done.
        hit: Whether the fault met the command: the kill came before its end, the disk was full before its end.
        refused: Whether leaf-st ended with exit code 2 and one line.
        named: Whether leaf-st named the damaged file.
        equal: Whether files, weights and repository are bit-equal to those of the undisturbed command.
        again: Number of texts that were embedded again.
        temporaries: Temporary files that are left at the end.
        wrong: What is wrong; empty if nothing is.
    """

    fault: str
    hit: bool = True
    refused: bool = False
    named: bool = False
    equal: bool = False
    again: int = 0
    temporaries: int = 0
    wrong: str = ""


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        part: Name of the part.
        number: Number of the trial.
        seed: Seed of the campaign; part, number and seed determine the fault.
        seconds: Duration.
        outcome: What came of the fault.
    """

    part: str
    number: int
    seed: int
    seconds: float
    outcome: Outcome


Attempt = Callable[[int, Random], Outcome]  # of the trial's number, and of the trial's random numbers


class Part(NamedTuple):
    """A part of the campaign.

    Attributes:
        trials: Number of trials of the complete campaign.
        prepare: Function that runs the command undisturbed and returns the function that makes a trial.
    """

    trials: int
    prepare: Callable[[Ground], Attempt]


def compared(ground: Ground, expected: dict[str, str], unread: tuple[str, ...] = ()) -> tuple[bool, int, str]:
    """Return whether the run equals ``expected``, the number of its temporary files, and a description of both.

    Files whose names begin with one of ``unread`` are not compared.
    """
    found, left = ground.snapshot(), temporaries(ground.run)
    names = {name for name in {*found, *expected} - {*left} if not name.startswith(unread)}
    different = sorted(name for name in names if found.get(name) != expected.get(name))
    different = [name for name in different if not any(name.startswith(f"{folder}/") for folder in left)]
    problems = [f"differs: {', '.join(different[:3])}"] if different else []
    problems += [f"left: {', '.join(left[:3])}"] if left else []
    return not different, len(left), "; ".join(problems)


def read_trials(path: Path) -> list[Trial]:
    """Return the finished trials; the line that a kill cut is left out."""
    trials = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        trials.append(Trial(**{**row, "outcome": Outcome(**row["outcome"])}))
    return trials


def append_trial(path: Path, trial: Trial) -> None:
    """Add a finished trial to the file."""
    with path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        cut = not (text := file.read()).endswith("\n") and text
        file.write(("\n" if cut else "") + json.dumps(asdict(trial)) + "\n")
