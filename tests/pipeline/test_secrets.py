"""Tokens, keys and the home folder in what a run writes, prints and publishes."""

import forked
import pytest
from api import KEY
from api import serve as serve_api
from hub import connect, serve
from hub_account import REPO, TOKEN, Account
from letters import save_set, save_texts

from leaf_st.cli.main import main
from leaf_st.evaluation import timing
from leaf_st.export import onnx, packed
from leaf_st.models.random_weights import save_tiny_teacher
from leaf_st.publishing import prepare as preparing

HOME = "home-of-somebody"


def _recipe(home, teacher):
    return f"""
from leaf_st.recipe import ApiSpec, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
recipe = Recipe(
    name="tiny",
    texts=TextsSpec(source="{home}/my texts.jsonl"),
    teacher={teacher},
    student=StudentSpec(backbone="{home}/models/teacher", layers=(0, 2), closed_form_rows=8),
    training=TrainingSpec(arguments={{"max_steps": 2, "use_cpu": True}}),
    evaluate_on=["{home}/sets/letters"],
)
"""


def _everything(home, kind):
    """Run, export, report and push, with models, texts, sets and the run in the home folder."""
    patch = pytest.MonkeyPatch()
    for name, value in {"HOME": str(home), "HF_TOKEN": TOKEN, "OPENAI_API_KEY": KEY}.items():
        patch.setenv(name, value)
    # These take seconds: torch's graph, the time before a measurement, and the checks in a process of their own.
    patch.setattr(onnx, "standard_graph", packed.packed_graph)
    patch.setattr(timing, "_WARM_UP_SECONDS", 0.0)
    patch.setattr(preparing, "verify", lambda *_: [])
    account = Account(home.parent / "hub")
    with serve({}, account=account) as hub, serve_api() as api:
        connect(patch, hub.url, home / ".cache" / "huggingface")
        local = f'TeacherSpec(model="{home}/models/teacher")'
        teacher = local if kind == "local" else f'TeacherSpec(api=ApiSpec(url="{api.url}", model="loopback"))'
        (home / "recipe.py").write_text(_recipe(home, teacher))
        run = home / "my runs" / "tiny"
        main(["run", str(home / "recipe.py"), "--output", str(run)])
        main(["export", str(run)])
        main(["report", str(run)])
        main(["push", str(run), "--repo-id", REPO])


def _files_with(text, folder):
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.parametrize("kind", ["local", "api"])
def test_no_secret_is_written_and_no_home_folder_is_published(kind, tmp_path):
    home = tmp_path / HOME
    for folder in ("models", "sets", "my runs"):
        (home / folder).mkdir(parents=True)
    save_tiny_teacher(home / "models" / "teacher")
    save_set(home / "sets" / "letters", documents=20, queries=6, length=60)
    save_texts(home / "my texts.jsonl", 60)
    done = forked.run(_everything, home, kind)
    assert done.returncode == 0, done.stderr
    assert "files sent to http://127.0.0.1:" in done.stdout

    for secret in (TOKEN, KEY):
        assert secret not in done.stdout + done.stderr
        assert _files_with(secret, tmp_path) == []

    run = home / "my runs" / "tiny"
    published = [path for path in (tmp_path / "hub").rglob("*") if path.name == "recipe.json"]
    assert published  # what was sent
    assert (run / "recipe.json") in _files_with(str(home), run)  # a run resumes by the paths of this machine
    for folder in (tmp_path / "hub", run / "publish", run / "report"):
        assert _files_with(HOME, folder) == []
    page = (run / "report" / "report.html").read_text()
    assert "<span>~/&#39;my</span> <span>runs/tiny&#39;</span>" in page  # the shell expands a ~ before quotes
