"""Clocks that jump while a command runs and while it is stopped, and a second process in the same run folder."""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from _chaos.children import Child, call
from _chaos.ground import Ground, files_of
from _chaos.jobs import undisturbed
from _chaos.kills import kill, resume
from _chaos.trial import Attempt, Outcome, Part, compared

_JOBS = ("embed-local", "train", "push", "train-two", "export", "embed-http", "train")
_YEARS = 365 * 86400.0


def _jump(ground: Ground, name: str, rng: Random) -> Outcome:
    """Let the clock jump, kill the command, give its files times of other years, and let the clock jump again."""
    expected = undisturbed(ground, name)
    years = [rng.uniform(-20, 20) for _ in range(4)]
    moments = [rng.uniform(0, expected.seconds) for _ in range(2)]
    killed, _ = kill(ground, expected, rng, partial(_let_clock_jump, years[:2], moments[0]))
    for path in files_of(ground.run).values():
        moment = time.time() + rng.uniform(-20, 20) * _YEARS
        os.utime(path, (moment, moment))
        os.utime(path.parent, (moment, moment))
    shifts = [f"{shift:+.1f}" for shift in years]
    fault = f"{name}: clock {shifts[0]} and {shifts[1]} years, killed, {shifts[2]} and {shifts[3]} years"
    return resume(ground, expected, killed, fault, partial(_let_clock_jump, years[2:], moments[1]))


def _let_clock_jump(years: Sequence[float], moment: float) -> None:
    """Shift this process's clock by the first of two numbers of years, and after ``moment`` seconds by the second."""
    now, now_ns, started = time.time, time.time_ns, time.monotonic()

    def shift() -> float:
        return years[time.monotonic() - started > moment] * _YEARS

    time.time = lambda: now() + shift()
    time.time_ns = lambda: now_ns() + int(shift() * 1e9)


def _meet(ground: Ground, name: str, rng: Random) -> Outcome:
    """Start the command a second time while it runs, and once more after both have ended."""
    expected = undisturbed(ground, name)
    expected.job.start(ground)
    first = Child(expected.job.command(ground), ground.logs)
    moment = rng.uniform(0, expected.seconds)
    early = first.wait(moment)
    second = Child(expected.job.command(ground), ground.logs)
    ends = [early or first.wait() or first.kill(), second.wait() or second.kill()]
    done = call(expected.job.command(ground), ground.logs)
    problems = [
        f"{which}: exit code {end.code}: {end.line}"
        for which, end in zip(("first", "second"), ends, strict=True)
        if end.code and not end.is_refused
    ]
    problems += [f"again: exit code {done.code}: {done.line}"] if done.code else []
    equal, left, difference = compared(ground, expected.files)
    problems += [difference] if difference else []
    return Outcome(
        f"{name}: a second after {moment:.3f} s",
        hit=early is None,
        refused=any(end.is_refused for end in ends),
        equal=equal,
        temporaries=left,
        wrong="; ".join(problems),
    )


def _in_turn(attempt: Callable[[Ground, str, Random], Outcome], ground: Ground) -> Attempt:
    return lambda number, rng: attempt(ground, _JOBS[number % len(_JOBS)], rng)


PARTS = {"clock": Part(14, partial(_in_turn, _jump)), "second-process": Part(21, partial(_in_turn, _meet))}
