"""The chaos campaign, a trial of each fault by the same code, and its table."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "recipes" / "benchmarks"
PARTS = ["embed-http", "train", "disk-full", "read-only", "clock", "second-process", "bit-flips"]


@pytest.fixture
def chaos(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import chaos

    return chaos


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A campaign in a process of its own, because its forked processes import other modules than those of the tests."""
    output = tmp_path_factory.mktemp("chaos")
    command = [sys.executable, FOLDER / "chaos.py", "--part", *PARTS, "--trials", "1", "--workers", "1"]
    command += ["--output", output]
    root = str(FOLDER.parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    return output, subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def test_every_fault_ends_as_an_undisturbed_run(ended):
    output, done = ended
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (output / "trials.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == PARTS
    outcomes = {row["part"]: row["outcome"] for row in rows}
    assert not any(outcome["temporaries"] for outcome in outcomes.values())
    # On a busy machine a command may end before a kill whose moment is a share of the time of an undisturbed command.
    assert any(outcomes[part]["hit"] for part in ("embed-http", "train"))
    assert all(outcomes[part]["hit"] for part in ("read-only", "bit-flips"))
    assert outcomes["train"]["fault"].startswith("SIGKILL after ")
    assert outcomes["read-only"]["refused"]
    assert outcomes["bit-flips"]["refused"] or outcomes["bit-flips"]["equal"]
    assert not (output / "work").exists()


def test_finished_trials_are_not_repeated(ended, chaos, capsys):
    output, _ = ended
    trials = chaos.campaign(dict.fromkeys(PARTS, 1), 0, output)
    assert "7 of 7 trials are finished" in capsys.readouterr().err
    with (output / "trials.jsonl").open("a") as file:
        file.write('{"part": "tr')  # cut by a kill
    chaos.append_trial(output / "trials.jsonl", replace(trials[0], number=1))
    assert len(chaos.read_trials(output / "trials.jsonl")) == 8


def test_what_is_wrong_is_counted(chaos):
    from _chaos.trial import Outcome, Trial

    right, wrong = Outcome("fault", equal=True, again=12), Outcome("fault", temporaries=2, wrong="left: .a.tmp")
    trials = [Trial("train", number, 0, 1.0, outcome) for number, outcome in enumerate((right, right, wrong))]
    assert chaos.summary(trials) == [
        {
            "part": "train",
            "trials": 3,
            "hit": 3,
            "refused": 0,
            "named": 0,
            "equal": 2,
            "most texts embedded again": 12,
            "temporaries": 2,
            "wrong": 1,
            "seconds": 3,
        }
    ]
