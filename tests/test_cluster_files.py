"""The files for Slurm and SkyPilot: each task, run by bash with the scheduler's variables, makes its own shards."""

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from leaf_st.cli.main import build_parser
from leaf_st.cli.stages import _engine

FOLDER = Path(__file__).parents[1] / "recipes" / "cluster"
ALONE = SimpleNamespace(process_index=0, num_processes=1)


@pytest.fixture
def started(tmp_path):
    """Return a function that runs a script with variables, and returns the arguments of the program it starts."""
    for name in ("leaf-st", "torchrun"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)

    def run(script, *arguments, **variables):
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
        done = subprocess.run(
            ["bash", "-c", script, "bash", *arguments], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return run


def _makes_all_shards(commands):
    options = [build_parser().parse_args(command) for command in commands]
    engines = [_engine(each) for each in options]
    for number in range(5 * len(engines)):
        assert sum(engine.owns(ALONE, number) for engine in engines) == 1
    return options


def test_the_tasks_of_a_slurm_array_make_all_shards(started):
    script = (FOLDER / "embed.sbatch").read_text()
    first, last = map(int, re.search(r"^#SBATCH --array=(\d+)-(\d+)$", script, re.MULTILINE).groups())
    commands = [
        started(script, "my recipe.py", "my run", SLURM_ARRAY_TASK_ID=str(task)) for task in range(first, last + 1)
    ]
    assert len(commands) == 8
    options = _makes_all_shards(commands)
    assert {(str(each.recipe), str(each.output)) for each in options} == {("my recipe.py", "my run")}
    docs = (FOLDER.parents[1] / "docs" / "cluster.md").read_text()
    assert script.splitlines()[-1] in docs


def test_the_nodes_of_skypilot_make_all_shards(started):
    task = yaml.safe_load((FOLDER / "embed.sky.yaml").read_text())
    commands = []
    for node in range(task["num_nodes"]):
        ranks = {"SKYPILOT_NODE_RANK": str(node), "SKYPILOT_NUM_NODES": str(task["num_nodes"])}
        launcher, processes, _, package, *command = started(
            task["run"], **ranks, SKYPILOT_NUM_GPUS_PER_NODE="2", RECIPE="my recipe.py", RUN="/shared/my run"
        )
        assert (launcher, processes, package) == ("--nproc-per-node", "2", "leaf_st")
        commands.append(command)
    options = _makes_all_shards(commands)
    assert {str(each.output) for each in options} == {"/shared/my run"}
    assert str(options[0].output).startswith(next(iter(task["volumes"])))
