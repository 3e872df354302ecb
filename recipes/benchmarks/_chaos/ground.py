"""What all trials start from: a tiny teacher, texts, recipes, stages of a run, and servers on loopback."""

import hashlib
import json
import os
import shutil
import socketserver
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from _chaos.children import Command, call, in_process
from leaf_st.atomic import is_temporary

TESTS = Path(__file__).parents[3] / "tests"
sys.path.insert(0, str(TESTS))

BLOCK = 1024  # rows of a shard: what a kill may lose
_TEXTS = 2 * BLOCK + 100
# Durations, which differ from run to run, and the checksums of rows that contain durations.
_TIMES = {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "checksum"}
_RECIPE = """
from leaf_st.recipe import ApiSpec, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
recipe = Recipe(
    name="tiny",
    texts=TextsSpec(source={texts!r}),
    teacher=TeacherSpec({teacher}),
    student=StudentSpec({student}),
    training=TrainingSpec(held_out_rows=64, arguments={{
        "max_steps": 12, "per_device_train_batch_size": 8, "learning_rate": 1e-3, "save_steps": 3, "eval_steps": 3,
        "dataloader_drop_last": True, "bf16": False, "use_cpu": True,
    }}),
)
"""


class Ground:
    """The folder of a campaign, with what its trials share.

    Args:
        folder: An empty folder. Every trial has its run in the same place, so that paths in records are equal.

    Attributes:
        disk: Parent of the run.
        run: The run of the trial in progress.
        logs: Folder for what commands print.
        undisturbed: What each command gives if nothing disturbs it, by name.
        texts: Number of texts.
        api: The loopback API, which counts texts.
        hub: The loopback hub.
    """

    def __init__(self, folder: Path) -> None:
        import api
        import hub

        socketserver.BaseServer.handle_error = _ignore_killed_client  # type: ignore[method-assign]
        self.folder, self.disk, self.home, self.logs = (folder, *(folder / name for name in ("disk", "home", "logs")))
        self.run = self.disk / "run"
        self.undisturbed: dict[str, Any] = {}
        self.disk.mkdir(parents=True)
        self.texts = _TEXTS
        (folder / "tmp").mkdir()
        self._servers = [api.serve(), hub.serve({})]
        self.api, self.hub = (server.__enter__() for server in self._servers)
        teacher, texts = folder / "teacher", folder / "texts.jsonl"
        in_process(partial(_save_teacher, teacher))
        rows = ({"text": _text(number), "kind": ("query", "document")[number % 2]} for number in range(_TEXTS))
        texts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self.set = _save_set(folder / "set")
        local = f'model={str(teacher)!r}, precision="float32"'
        over_http = f'api=ApiSpec(url={self.api.url!r}, model="loopback")'
        for name, of_teacher, student in (
            ("local", local, "layers=(0, 2), closed_form_rows=64"),
            ("http", over_http, f"backbone={str(teacher)!r}, layers=(0, 2), closed_form_rows=64"),
        ):
            text = _RECIPE.format(texts=str(texts), teacher=of_teacher, student=student)
            (folder / f"{name}.py").write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Stop the servers."""
        for server in self._servers:
            server.__exit__(None, None, None)

    def command(self, *arguments: str, processes: int = 1, setup: Sequence[Callable[[], None]] = ()) -> Command:
        """Return a command that uses the loopback servers and no other network."""
        import api
        from hub_account import TOKEN

        folders = {name: str(self.home / name.lower()) for name in ("HF_HOME", "XDG_CACHE_HOME")}
        keys = {"OPENAI_API_KEY": api.KEY, "HF_TOKEN": TOKEN, "TMPDIR": str(self.folder / "tmp")}
        connect = partial(connect_hub, self.hub.url, self.home)
        return Command(arguments, processes, {**folders, **keys}, (connect, *setup))

    def recipe(self, name: str) -> str:
        """Return the file of a recipe, "local" or "http"."""
        return str(self.folder / f"{name}.py")

    @property
    def export(self) -> tuple[str, ...]:
        """Arguments of an export, which searches and times the texts of `set`."""
        return ("export", str(self.run), "--texts", str(self.set), "--data", str(self.set))

    def stage(self, name: str) -> Path | None:
        """Return an undisturbed run after the stage ``name``, made once: "embed", "train" or "export"."""
        if not name:
            return None
        made = self.folder / "stages" / name
        if not made.exists():
            earlier, arguments = {
                "embed": ("", ("embed", self.recipe("local"), "--output", str(self.run))),
                "train": ("embed", ("train", self.recipe("local"), "--output", str(self.run))),
                "export": ("train", self.export),
            }[name]
            self.reset(earlier)
            self.require(self.command(*arguments))
            shutil.copytree(self.run, made)
        return made

    def reset(self, stage: str = "") -> None:
        """Replace the run of the trial in progress by a copy of a stage; without a stage, by none."""
        made = self.stage(stage)
        shutil.rmtree(self.run, ignore_errors=True)
        if made is not None:
            shutil.copytree(made, self.run)
        self.new_account()

    def new_account(self) -> None:
        """Replace the repositories of the hub by none."""
        from hub_account import Account

        shutil.rmtree(self.folder / "account", ignore_errors=True)
        self.hub.account = Account(self.folder / "account")

    def require(self, command: Command) -> float:
        """Run a command that must succeed; return its duration in seconds."""
        done = call(command, self.logs)
        if done.code:
            raise RuntimeError(f"leaf-st {' '.join(command.arguments)} ended with {done.code}: {done.printed[-2000:]}")
        return done.seconds

    def snapshot(self) -> dict[str, str]:
        """Return the hash of each file of the run and of the hub's repository, without times of day and durations."""
        found = {name: _digest(path) for name, path in files_of(self.run).items()}
        for name, repository in self.hub.account.repositories.items():
            for revision, commit in {**repository.branches, **repository.tags}.items():
                files = files_of(repository.folder / commit)
                found |= {f"hub/{name}@{revision}/{file}": _digest(path) for file, path in files.items()}
        return found


def _save_teacher(folder: Path) -> None:
    from leaf_st.models.random_weights import save_tiny_teacher

    save_tiny_teacher(folder)


def connect_hub(url: str, home: Path) -> None:
    """Use the loopback hub in this process."""
    import pytest
    from hub import connect

    connect(pytest.MonkeyPatch(), url, home)


def files_of(folder: Path) -> dict[str, Path]:
    """Return all files below ``folder`` by relative path."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def disk_space(folder: Path) -> int:
    """Return the bytes of all pages that the files below ``folder`` occupy."""
    page = os.sysconf("SC_PAGESIZE")
    return sum(-(-path.stat().st_size // page) * page for path in files_of(folder).values())


def temporaries(folder: Path) -> list[str]:
    """Return the temporary files and folders below ``folder``."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if is_temporary(path)]


def _digest(path: Path) -> str:
    if path.name == "export.json":  # texts per second
        return ""
    content = path.read_bytes()
    with suppress(ValueError):  # a flipped bit may leave no JSON
        if path.name == "complete.json":  # the checksums of a checkpoint's files, one of which holds durations
            return str({**json.loads(content)["files"], "trainer_state.json": ""})
        if path.name in ("training.json", "trainer_state.json"):
            content = json.dumps(_without_times(json.loads(content)), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _without_times(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """Return JSON without durations, and without the trainer's summary of one process's part of a training."""
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in _TIMES}
    if isinstance(value, list):
        return [_without_times(item) for item in value if not (isinstance(item, dict) and "train_runtime" in item)]
    return value


def _text(number: int) -> str:
    return f"text number {number} of a campaign"


def _save_set(folder: Path) -> Path:
    """Save a set whose queries equal their documents, so that the tiny student finds them with eight bits too."""
    folder.mkdir()
    texts = [" ".join(f"{letter}{number}" for letter in "abcdefghij"[number % 7 :]) for number in range(20)]
    documents = [json.dumps({"_id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{number}", "text": text}) for number, text in enumerate(texts)]
    judged = ["query-id\tcorpus-id\tscore", *(f"q{number}\td{number}\t1" for number in range(20))]
    for name, lines in (("corpus.jsonl", documents), ("queries.jsonl", queries), ("qrels.tsv", judged)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _ignore_killed_client(server: socketserver.BaseServer, *_: object) -> None:
    if not isinstance(sys.exception(), ConnectionError):
        raise
