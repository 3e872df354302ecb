"""SIGKILL at a random moment, then the same command again."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from _chaos.children import Child, Command, call
from _chaos.ground import BLOCK, Ground, files_of
from _chaos.trial import Attempt, Outcome, Part, compared

REPO = "us/tiny"
_TRIES = 8  # a command that ended before its kill is started again


@dataclass(frozen=True)
class Job:
    """A command, and the stage that it starts from.

    Attributes:
        name: Name of the command: "embed", "train", "export" or "push".
        stage: The stage of the run before the command; empty for none.
        recipe: Name of the recipe.
        processes: Number of processes.
    """

    name: str
    stage: str = ""
    recipe: str = "local"
    processes: int = 1

    def command(self, ground: Ground) -> Command:
        """Return the command, which counts the texts that it embeds."""
        arguments = {
            "embed": ("embed", ground.recipe(self.recipe), "--output", str(ground.run)),
            "train": ("train", ground.recipe(self.recipe), "--output", str(ground.run)),
            "export": ("export", str(ground.run), "--texts", str(ground.set)),
            "push": ("push", str(ground.run), "--repo-id", REPO, "--without-results"),
        }[self.name]
        setup = (partial(count_embedded, counted_file(ground)),) if self.name == "embed" else ()
        return ground.command(*arguments, processes=self.processes, setup=setup)


JOBS = {
    "embed-local": Job("embed"),
    "embed-http": Job("embed", recipe="http"),
    "embed-torchrun": Job("embed", processes=2),
    "train": Job("train", "embed"),
    "train-two": Job("train", "embed", processes=2),
    "export": Job("export", "train"),
    "push": Job("push", "export"),
}


def counted_file(ground: Ground) -> Path:
    """Return the file to which processes write how many texts they embed."""
    return ground.folder / "embedded"


def count_embedded(file: Path) -> None:
    """Let this process write the size of each block to ``file`` before the block is embedded."""
    from leaf_st.teacher import precompute

    embed_rows = precompute.embed_rows

    def counted(teacher, rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        with file.open("a") as opened:
            opened.write(f"{len(rows)}\n")
        return embed_rows(teacher, rows)

    precompute.embed_rows = counted


def _prepare(job: Job, ground: Ground) -> Attempt:
    command = job.command(ground)
    ground.reset(job.stage)
    seconds = ground.require(command)
    return partial(_attempt, ground, job, command, ground.snapshot(), seconds)


def _attempt(
    ground: Ground, job: Job, command: Command, expected: dict[str, str], seconds: float, rng: Random
) -> Outcome:
    for _ in range(_TRIES):
        _start(ground, job)
        moment = rng.uniform(0, seconds)
        child = Child(command, ground.folder / "logs")
        killed = child.wait(moment) or child.kill()
        if killed.code == -9:
            break
    problems = [] if killed.code in (-9, 0) else [f"exit code {killed.code}: {killed.line}"]
    problems += _half_published(ground, expected)
    done = call(command, ground.folder / "logs")
    problems += [f"again: exit code {done.code}: {done.line}"] if done.code else []
    equal, left, difference = compared(ground, expected)
    again = _embedded_again(ground, job)
    if again > job.processes * BLOCK:
        problems.append(f"{again} texts embedded again")
    problems += [difference] if difference else []
    fault = f"SIGKILL after {moment:.3f} of {seconds:.3f} s"
    return Outcome(fault, killed.code == -9, False, equal, again, left, "; ".join(problems))


def _start(ground: Ground, job: Job) -> None:
    ground.reset(job.stage)
    ground.api.asked.clear()
    counted_file(ground).unlink(missing_ok=True)


def _embedded_again(ground: Ground, job: Job) -> int:
    """Return how many texts were embedded again, over all attempts; the API counts for itself."""
    if job.name != "embed":
        return 0
    if job.recipe == "http":
        return sum(count - 1 for text, count in ground.api.asked.items() if text.startswith("text number"))
    return sum(map(int, counted_file(ground).read_text().split())) - ground.texts


def _half_published(ground: Ground, expected: dict[str, str]) -> list[str]:
    """Return what is wrong with the branch main: it holds all files of a publication or none."""
    repository = ground.hub.account.repositories.get(REPO)
    if repository is None:
        return []
    found = set(files_of(repository.at("main"))) - {".gitattributes"}
    whole = {name.partition("@main/")[2] for name in expected if "@main/" in name} - {".gitattributes"}
    return [] if found in (set(), whole) else [f"main holds {len(found)} of {len(whole)} files after the kill"]


_KILLS = {"embed-local": 17, "embed-http": 17, "embed-torchrun": 16, "train": 25, "train-two": 25}
PARTS = {name: Part(_KILLS.get(name, 50), partial(_prepare, job)) for name, job in JOBS.items()}
