"""Embedding by the workers of a real Ray on this machine, of which some are killed while they embed."""

import json
import logging
import os
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import pytest
from api import KEY, serve, tokens_of
from forked import CONTEXT

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.recipe import TeacherSpec, TextsSpec
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.ray_workers import RayWorkers, _plan, connect
from leaf_st.texts import Text

ROWS = 16
SHARDS = 12
TEXTS = [
    Text(f"text {number} {'more ' * (number % 9)}", "query" if number % 3 else "document")
    for number in range(ROWS * SHARDS)
]
WORKERS = 3
IN_PROC = pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of workers in /proc")
RECIPE = """
from leaf_st.recipe import ApiSpec, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
recipe = Recipe(
    name="tiny",
    texts=TextsSpec(source={source!r}),
    teacher=TeacherSpec(api=ApiSpec(url={url!r}, model="loopback")),
    student=StudentSpec(backbone={backbone!r}, layers=(0, 2)),
    training=TrainingSpec(held_out_rows=51, arguments={{"max_steps": 2, "use_cpu": True}}),
)
"""


@pytest.fixture(scope="module")
def session():
    """The folder of a Ray on this machine that all tests use. Its workers find the key in their environment."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'leaf-st[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # the package may not be installed
        connect("local")
        yield Path(ray.nodes()[0]["ObjectStoreSocketName"]).parents[1]
        ray.shutdown()


def embed(folder, spec, workers=WORKERS, **options):
    teacher = open_teacher(spec, "cpu", options.pop("max_tokens", None))
    engine = RayWorkers(workers=workers)
    maker = engine.maker(spec, teacher, folder) if workers else None
    return precompute(TEXTS, teacher, folder, rows_per_shard=ROWS, maker=maker, **options)


def same_files(one, other):
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert len(names) >= SHARDS
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def processes_below(parent, title=b""):
    """Return the processes that ``parent`` or a process below it has started, and whose command contains ``title``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if title in (folder / "cmdline").read_bytes() and _is_below(parent, int(folder.name)):
                found.append(int(folder.name))
    return found


def _is_below(parent, process):
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        if process == parent:
            return True
    return False


@contextmanager
def killing(folder, times):
    """Kill a worker that is embedding, ``times`` times, once a shard is in ``folder``; yields the killed processes."""
    killed, ended = [], Event()

    def kill():
        while len(killed) < times and not ended.wait(0.002):
            workers = set(processes_below(os.getpid(), b"ray::Actor.make")) - set(killed)
            if workers and (times > 1 or any(folder.glob("shard-*"))):
                os.kill(worker := workers.pop(), signal.SIGKILL)
                killed.append(worker)

    thread = Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


@IN_PROC
def test_a_killed_worker_changes_no_byte_of_a_model_s_store(
    session, tiny_teacher_folder, tmp_path, caplog, monkeypatch
):
    shutil.copytree(tiny_teacher_folder, tmp_path / "models" / "teacher")
    monkeypatch.chdir(tmp_path)  # Ray was started in another folder: relative paths are those of the command
    spec = TeacherSpec(model="models/teacher", precision="float32")
    embed(tmp_path / "alone", spec, workers=0)
    with killing(tmp_path / "together", 1) as killed, caplog.at_level(logging.WARNING, "leaf_st"):
        store = embed(tmp_path / "together", spec)
    assert len(killed) == 1
    assert len(store) == len(TEXTS)
    assert "failed on" in caplog.text
    same_files(tmp_path / "alone", tmp_path / "together")


@IN_PROC
def test_workers_share_one_limit_of_an_api(session, tmp_path):
    with serve() as api:
        embed(tmp_path / "alone", api.spec(max_items=4), workers=0)
        api.latency, api.requests_per_minute = 0.3, 720  # more than the recipe's limit, less than three times that
        spec = api.spec(requests_per_minute=600, max_items=4)
        api.asked.clear()
        api.answers.clear()
        with killing(tmp_path / "together", 1) as killed:
            embed(tmp_path / "together", spec)
    assert len(killed) == 1
    assert api.answers.keys() == {200}  # no request exceeded the limit
    asked = Counter({row.text: api.asked[row.text] for row in TEXTS})
    twice = [text for text, count in asked.items() if count > 1]
    assert set(asked.values()) <= {1, 2}
    assert len(twice) <= ROWS  # the block that the killed worker had
    same_files(tmp_path / "alone", tmp_path / "together")
    logs = [path for path in session.rglob("*") if path.is_file() and not path.is_socket()]
    assert len(logs) > 5
    assert not [path for path in logs if KEY.encode() in path.read_bytes()]


@IN_PROC
def test_a_shard_that_ends_its_workers_is_named(session, tmp_path):
    with serve(latency=0.5) as api, killing(tmp_path / "store", 3) as killed:
        with pytest.raises(
            InputError, match=r"shard 0: expected success within 3 attempts.* its worker process has died"
        ):
            embed(tmp_path / "store", api.spec(), workers=1)
        assert len(killed) == 3


def _command(arguments, errors):
    """Run a command in a process group of its own."""
    os.setsid()
    os.environ["OPENAI_API_KEY"] = KEY
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    main(arguments)


@IN_PROC
def test_ctrl_c_ends_all_workers_and_the_same_command_resumes(session, tiny_teacher_folder, tmp_path, capfd):
    rows = [json.dumps({"text": f"text {number}"}) for number in range(3500)]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows))
    with serve() as api:
        values = {"source": str(tmp_path / "texts.jsonl"), "url": api.url, "backbone": str(tiny_teacher_folder)}
        (tmp_path / "recipe.py").write_text(RECIPE.format(**values))
        alone, together = (["embed", str(tmp_path / "recipe.py"), "--output", str(tmp_path / name)] for name in "ab")
        together += ["--ray", "local", "--workers", "2"]
        process = CONTEXT.Process(target=_command, args=(together, tmp_path / "errors"))
        process.start()
        while process.is_alive() and not list(tmp_path.glob("b/store/shard-*")):
            time.sleep(0.05)
        api.latency = 30
        while process.is_alive() and not processes_below(process.pid, b"ray::Actor.make"):
            time.sleep(0.05)
        started = processes_below(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.join()
        api.latency = 0
        errors = (tmp_path / "errors").read_text()
        assert process.exitcode == 130, errors
        assert "stopped; the same command resumes embedding" in errors
        assert "Traceback" not in errors
        assert KEY not in errors
        assert len(started) > 2
        assert not [each for each in started if Path(f"/proc/{each}").exists()]
        finished = [int(path.name.split("-")[1]) for path in tmp_path.glob("b/store/shard-*")]
        assert 1 <= len(finished) < 4
        api.asked.clear()
        main(together)
        assert "3,500 rows in" in capfd.readouterr().out
        texts = [
            f"text {number}" for shard in finished for number in range(1024 * shard, min(1024 * (shard + 1), 3500))
        ]
        assert not [text for text in texts if api.asked[text]]
        main(alone)
    shards = {path.name: path.read_bytes() for path in tmp_path.glob("a/store/*")}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("b/store/*")} == shards


def test_an_error_of_a_worker_is_the_error_of_the_command(session, tmp_path):
    with serve() as api:
        spec = api.spec()
        teacher = open_teacher(spec)
        maker = RayWorkers(workers=1).maker(spec, teacher, tmp_path)
        api.vector = lambda text: np.full(16, np.nan)
        with pytest.raises(InputError, match=r".*: the API gives NaN or infinite numbers"):
            precompute(TEXTS, teacher, tmp_path / "store", rows_per_shard=ROWS, maker=maker)


def test_a_finished_store_needs_no_worker(tmp_path):
    with serve(key="") as api:
        embed(tmp_path, api.spec(), workers=0)
        assert len(embed(tmp_path, api.spec())) == len(TEXTS)  # Ray is not started


def test_the_budget_counts_what_workers_ask(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows = TEXTS[:ROWS]
    with serve() as api:
        worker = open_teacher(api.spec())
        keeper = open_teacher(api.spec(), max_tokens=10_000)
        used = keeper._client.usage.tokens
        keeper.settle(keeper.reserve(()), worker.report())  # the worker's probes
        assert keeper._client.usage.tokens == 2 * used
        reserved = keeper.reserve(rows)
        assert reserved[0] >= sum(tokens_of(row.text) for row in rows)
        worker.encode_query([row.text for row in rows])
        keeper.settle(reserved, worker.report())
        asked = 2 * used + sum(tokens_of(row.text) for row in rows)
        assert keeper._client.usage.tokens == asked
        keeper.settle(lost := keeper.reserve(rows), None)
        assert keeper._client.usage.tokens == asked + lost[0]
        assert keeper._client.usage.reserved == 0
        most = (10_000 - asked - lost[0]) // lost[0]
        for _ in range(most // 2):
            keeper.reserve(rows)
        with pytest.raises(InputError, match="the budget of 10,000 tokens is reached"):
            [keeper.reserve(rows) for _ in range(most)]
        assert keeper._client.usage.reserved <= 10_000 - asked - lost[0]


def test_a_worker_with_another_model_is_refused(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve() as api:
        keeper = open_teacher(api.spec())
        api.drift_after = 0
        worker = open_teacher(api.spec())
        with pytest.raises(InputError, match="in the process that started the workers"):
            keeper.settle(keeper.reserve(()), worker.report())


GPU = {"CPU": 16.0, "GPU": 8.0}
CPU = {"CPU": 8.0}


@pytest.mark.parametrize(
    ("asked", "nodes", "loaded", "workers", "resources"),
    [
        ({}, [GPU, GPU], True, 16, {"CPU": 1, "GPU": 1}),
        ({"gpus": 0.5}, [GPU, CPU], True, 16, {"CPU": 1, "GPU": 0.5}),
        ({"gpus": 4.0}, [GPU], True, 2, {"CPU": 1, "GPU": 4}),
        ({"workers": 3}, [GPU], True, 3, {"CPU": 1, "GPU": 1}),
        ({}, [GPU, CPU], False, 2, {"CPU": 1}),  # an API
        ({}, [CPU, CPU, {"CPU": 0.0}], True, 2, {"CPU": 8}),
        ({"workers": 4}, [CPU, CPU], True, 4, {"CPU": 4}),
        ({"workers": 3}, [{"CPU": 2.0}], True, 3, {"CPU": 0.6666}),
        ({"workers": 3, "cpus": 2.0, "gpus": 0.0}, [GPU], True, 3, {"CPU": 2}),
        ({"gpus": 1.0}, [CPU], True, 1, {"CPU": 1, "GPU": 1}),  # until a node with a GPU joins
    ],
)
def test_workers_fill_the_cluster(monkeypatch, asked, nodes, loaded, workers, resources):
    monkeypatch.setattr("leaf_st.teacher.ray_workers.find_spec", lambda name: name)
    assert _plan(RayWorkers(**asked), nodes, loaded) == (workers, resources)


def _refused(arguments, capfd):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    error = capfd.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    return error


def test_without_ray_one_line_names_the_extra(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("leaf_st.teacher.ray_workers.find_spec", lambda name: None)
    assert "pip install 'leaf-st[ray]'" in _refused(["embed", "recipe.py", "--ray"], capfd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "--workers: expected --ray"),
        (["--gpus-per-worker", "1"], "--gpus-per-worker: expected --ray"),
        (["--ray", "--gpus-per-worker", "1.5"], "--gpus-per-worker: expected a part of one, such as 0.5"),
        (["--ray", "--partition", "0/2"], "not allowed with argument"),
        (["--ray", "--workers", "0"], "expected an integer of at least 1, found 0"),
    ],
)
def test_bad_arguments_are_one_line(capfd, monkeypatch, arguments, message):
    monkeypatch.setattr("leaf_st.teacher.ray_workers.find_spec", lambda name: name)
    assert message in _refused(["embed", "recipe.py", *arguments], capfd)


def test_a_launcher_and_given_vectors_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("leaf_st.teacher.ray_workers.find_spec", lambda name: name)
    with pytest.raises(InputError, match="--ray: expected one process, found 2"):
        RayWorkers().embed(SimpleNamespace(num_processes=2), lambda own, maker_of: None)
    spec = TeacherSpec(vector_column="vector", table=TextsSpec("texts.parquet"))
    with pytest.raises(InputError, match=r"found given vectors \(teacher.vector_column=vector\)"):
        RayWorkers().maker(spec, None, tmp_path)
