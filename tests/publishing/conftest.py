"""A run as training leaves it, and a hub that can be written to."""

import shutil
import time
from types import SimpleNamespace

import pytest
from hub import serve
from hub_account import REPO, TOKEN, Account
from huggingface_hub import close_session, constants

from leaf_st.atomic import write_json
from leaf_st.evaluation.results import Result, write_results
from leaf_st.publishing.prepare import make_folder
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec
from leaf_st.student.build import build_student
from leaf_st.student.portable import save_portable


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_teacher_folder):
    """A run with a model and results; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    recipe = Recipe(
        name="tiny", teacher=TeacherSpec(model=str(tiny_teacher_folder)), student=StudentSpec(layers=(0, 2))
    )
    record = {"recipe": recipe.to_dict(), "resolved": recipe.to_dict()}
    prompts = {"query": "find: ", "document": ""}
    student = build_student(
        tiny_teacher_folder, dimension=32, normalized=True, layers=(0, 2), prompts=prompts, device="cpu"
    )
    save_portable(student, folder / "model", record)
    write_json(folder / "recipe.json", record)
    row = Result("tiny", "standard", "ndcg_at_10", 51.25, "local/tiny", None, 1.0, 6, 40)
    (folder / "results").mkdir()
    write_results(folder / "results" / "tasks.json", [row])
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A run of one's own."""
    return shutil.copytree(finished, tmp_path / "runs" / "tiny")


@pytest.fixture(scope="session")
def ready(finished, tmp_path_factory):
    """What of it goes to the hub; not to be changed."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("ready") / "tiny")
    make_folder(run, REPO, asymmetric=False, without_results=False)
    return run / "publish"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub for this process: its ``account``, its ``url``, and how long was ``slept``."""
    account, slept = Account(tmp_path / "hub"), []
    with serve({}, account=account) as served:
        for name, value in {
            "ENDPOINT": served.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": served.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(time, "sleep", slept.append)
        close_session()  # one of another test knows another environment
        yield SimpleNamespace(account=account, url=served.url, slept=slept)
        close_session()
