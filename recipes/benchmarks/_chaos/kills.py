"""SIGKILL at a random moment, of all processes or of one of two, then the same command again."""

from collections.abc import Callable
from functools import partial
from random import Random

from _chaos.children import Child, Ended, call
from _chaos.ground import BLOCK, Ground, files_of
from _chaos.jobs import REPO, Job, Undisturbed, counted_file, undisturbed
from _chaos.trial import Attempt, Outcome, Part, compared

_TRIES = 8  # a command that ended before its kill is started again


def _prepare(name: str, ground: Ground) -> Attempt:
    return partial(_attempt, ground, undisturbed(ground, name))


def _attempt(ground: Ground, expected: Undisturbed, _: int, rng: Random) -> Outcome:
    one = expected.job.processes > 1 and rng.random() < 0.5
    killed, moment = kill(ground, expected, rng, one=one)
    whom = "SIGKILL of one process" if one else "SIGKILL"
    return resume(ground, expected, killed, f"{whom} after {moment:.3f} of {expected.seconds:.3f} s")


def kill(
    ground: Ground, expected: Undisturbed, rng: Random, *setup: Callable[[], None], one: bool = False
) -> tuple[Ended, float]:
    """Start the command and kill it at a random moment; return how it ended, and the moment in seconds.

    If ``one``, only one of its processes is killed.
    """
    for _ in range(_TRIES):
        expected.job.start(ground)
        moment = rng.uniform(0, expected.seconds)
        child = Child(expected.job.command(ground, *setup), ground.logs)
        ended = child.wait(moment) or child.kill(one)
        if ended.code == -9:
            break
    return ended, moment


def resume(ground: Ground, expected: Undisturbed, killed: Ended, fault: str, *setup: Callable[[], None]) -> Outcome:
    """Run the command again after its kill, and compare."""
    job = expected.job
    problems = [] if killed.code in (-9, 0) else [f"exit code {killed.code}: {killed.line}"]
    problems += _half_published(ground, expected)
    done = call(job.command(ground, *setup), ground.logs)
    problems += [f"again: exit code {done.code}: {done.line}"] if done.code else []
    equal, left, difference = compared(ground, expected.files)
    again = _embedded_again(ground, job)
    if again > job.processes * BLOCK:
        problems.append(f"{again} texts embedded again")
    problems += [difference] if difference else []
    return Outcome(fault, hit=killed.code == -9, equal=equal, again=again, temporaries=left, wrong="; ".join(problems))


def _embedded_again(ground: Ground, job: Job) -> int:
    """Return how many texts were embedded again, over all attempts; the API counts for itself."""
    if job.name != "embed":
        return 0
    if job.recipe == "http":
        return sum(count - 1 for text, count in ground.api.asked.items() if text.startswith("text number"))
    return sum(map(int, counted_file(ground).read_text().split())) - ground.texts


def _half_published(ground: Ground, expected: Undisturbed) -> list[str]:
    """Return what is wrong with the branch main: it holds all files of a publication or none."""
    repository = ground.hub.account.repositories.get(REPO)
    if repository is None:
        return []
    found = set(files_of(repository.at("main"))) - {".gitattributes"}
    whole = {name.partition("@main/")[2] for name in expected.files if "@main/" in name} - {".gitattributes"}
    return [] if found in (set(), whole) else [f"main holds {len(found)} of {len(whole)} files after the kill"]


_KILLS = {"embed-local": 17, "embed-http": 17, "embed-torchrun": 16, "train": 25, "train-two": 25}
_KILLS |= {"export": 50, "push": 50}
PARTS = {name: Part(count, partial(_prepare, name)) for name, count in _KILLS.items()}
