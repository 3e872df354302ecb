"""One flipped bit in a file of a run, then the command that reads the file.

The command must name the file and end with exit code 2, or name the file and make it again, or give the same result
because nothing depends on the bit.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from _chaos.children import call
from _chaos.ground import Ground
from _chaos.jobs import Undisturbed, undisturbed
from _chaos.trial import Attempt, Outcome, Part, compared


@dataclass(frozen=True)
class Target:
    """Files in which a bit flips, and the command that reads them.

    Attributes:
        files: Pattern of the files in the run folder.
        job: The command.
        without: Parts of the finished run that are deleted before the command.
    """

    files: str
    job: str
    without: Sequence[str] = ()


_UNTRAINED = ("model", "checkpoints", "results")
TARGETS = (
    Target("store/*", "embed-again"),
    Target("store/shard-*", "train", _UNTRAINED),
    Target("store/manifest.json", "train", _UNTRAINED),
    Target("store/fingerprint.json", "train", _UNTRAINED),
    Target("store/*.npy*", "train", _UNTRAINED),  # numbers of tokens
    Target("store/lengths*", "train", _UNTRAINED),
    Target("checkpoints/*/*", "train", ("model", "results")),
    Target("checkpoints/*/*", "train", ("model", "results", "checkpoints/checkpoint-12")),
    Target("checkpoints/*/model.safetensors", "train", ("model", "results")),
    Target("recipe.json", "train", _UNTRAINED),
    Target("recipe.json", "push", ("publish", "mteb-results")),
    Target("results/*.json", "push", ("publish", "mteb-results")),
    Target("model/**/*.*", "export"),
    Target("model/onnx/*", "push", ("publish", "mteb-results")),
    Target("model/**/*.*", "push", ("publish", "mteb-results")),
)


def _prepare(ground: Ground) -> Attempt:
    return lambda number, rng: _flip(ground, TARGETS[number % len(TARGETS)], rng)


def _flip(ground: Ground, target: Target, rng: Random) -> Outcome:
    expected = undisturbed(ground, target.job)
    _finished(ground, expected, target.without)
    path = rng.choice(sorted(path for path in ground.run.glob(target.files) if path.is_file() and path.stat().st_size))
    content = bytearray(path.read_bytes())
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    name = path.relative_to(ground.run).as_posix()
    done = call(expected.job.command(ground), ground.logs)
    fault = f"{target.job}: bit {bit} of byte {place} of {name}"
    named = str(path).removesuffix(".checksum") in (done.line if done.code else done.printed)
    if done.code:
        wrong = "" if named and done.is_refused else f"exit code {done.code}: {done.line}"
        return Outcome(fault, refused=done.is_refused, named=named, wrong=wrong or _published(ground))
    # A file that is named was made again. A checkpoint was removed, and those of later steps replace it.
    equal, left, difference = compared(ground, expected.files, unread=("checkpoints/", *(() if named else (name,))))
    return Outcome(fault, named=named, equal=equal, temporaries=left, wrong=difference)


def _finished(ground: Ground, expected: Undisturbed, without: Sequence[str]) -> None:
    """Set up the run after the command, and delete the parts that the command makes."""
    expected.job.start(ground)
    if expected.job.name == "train":
        ground.reset("train")
    for part in without:
        shutil.rmtree(ground.run / part, ignore_errors=True)


def _published(ground: Ground) -> str:
    """Return what is wrong with the hub after a refusal: nothing may be published."""
    published = [name for name in ground.snapshot() if name.startswith("hub/")]
    return f"published {len(published)} files" if published else ""


PARTS = {"bit-flips": Part(200, _prepare)}
