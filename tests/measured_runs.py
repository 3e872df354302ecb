"""Fixtures: a trained run, a measured run, and a hub that accepts uploads."""

import shutil
import time
from argparse import Namespace
from types import SimpleNamespace

import pytest
from hub import connect, serve
from hub_account import REPO, TOKEN, Account
from huggingface_hub import close_session
from letters import save_set, save_texts

from leaf_st.atomic import write_json
from leaf_st.evaluation.measurements import baseline
from leaf_st.evaluation.measurements.checkpoints import measure_margin
from leaf_st.evaluation.measurements.compression import measure_compression
from leaf_st.evaluation.measurements.index import measure_index
from leaf_st.evaluation.measurements.samples import measure_samples
from leaf_st.evaluation.results import Result, write_results
from leaf_st.evaluation.rows import write_rows
from leaf_st.evaluation.timing import Candidate, measure_latency
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.pipeline.run import Run
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.student.build import build_student
from leaf_st.teacher.open import open_teacher


@pytest.fixture(scope="session")
def search_set(tmp_path_factory):
    return save_set(tmp_path_factory.mktemp("sets") / "letters", documents=20, queries=6, length=60)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_teacher_folder, search_set):
    """A trained run without measurements."""
    folder = tmp_path_factory.mktemp("report")
    texts = save_texts(folder / "texts.jsonl", 60)
    arguments = {"max_steps": 9, "eval_steps": 3, "save_steps": 3, "save_total_limit": 4, "logging_steps": 1}
    arguments |= {"per_device_train_batch_size": 8, "learning_rate": 1e-2, "use_cpu": True, "bf16": False}
    recipe = Recipe(
        name="tiny",
        texts=TextsSpec(source=str(texts)),
        teacher=TeacherSpec(model=str(tiny_teacher_folder), precision="float32"),
        student=StudentSpec(layers=(0, 2), closed_form_rows=0),
        training=TrainingSpec(end_learning_rate=1e-3, arguments=arguments),
        evaluate_on=[str(search_set)],
    )
    run = Run(recipe, folder / "run")
    run.embed()
    run.train()
    return run


@pytest.fixture(scope="session")
def whole(trained, search_set, tmp_path_factory):
    """The folder of a run with all measurements."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(trained.folder, folder)
    run = Run(trained.recipe, folder)
    run.measure_alignment()
    run.evaluate()
    student = load_model(str(folder / "model"))
    models = {"teacher": open_teacher(run.recipe.teacher), "student": student}
    results = folder / "results"
    write_rows(results / "compression.json", measure_compression(search_set, **models))
    write_rows(results / "index.json", measure_index(search_set, **models, expansions=(10, 20)))
    write_rows(results / "samples.json", measure_samples(search_set, **models))
    write_rows(results / "margin.json", measure_margin(folder, [], results))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baseline, "MINILM", run.recipe.teacher.model)  # the second map needs a model of 90 MB
        baseline.BASELINE.measure(Namespace(model=str(folder), data=[], output=results))
    timed = {"teacher": load_model(run.recipe.teacher.model), "student": student}
    candidates = [Candidate(name, model, "teacher") for name, model in timed.items()]
    texts = {"query": ["a b", "c"] * 2, "document": ["a b c d", "e f"] * 2}
    write_rows(results / "latency.json", measure_latency(candidates, texts, batch_sizes=(1, 2), repeats=2))
    return folder


@pytest.fixture
def measured(whole, tmp_path):
    """A copy of ``whole`` without store and checkpoints; tests may change the copy."""
    folder = tmp_path / "a run"
    left_out = shutil.ignore_patterns("store", "checkpoints", "model", "mteb", "parts", "report")
    shutil.copytree(whole, folder, ignore=left_out)
    return folder


@pytest.fixture
def few(measured):
    """A copy of ``whole`` with only tasks, sizes and samples: figures take the most time."""
    for path in (measured / "results").iterdir():
        if path.stem not in ("tasks", "models", "samples"):
            path.unlink()
    return measured


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_teacher_folder):
    """A run with a model and results; tests must not change the folder."""
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
    """A copy of ``finished`` that the test may change."""
    return shutil.copytree(finished, tmp_path / "runs" / "tiny")


@pytest.fixture(scope="session")
def ready(finished, tmp_path_factory):
    """The folder of ``finished`` that goes to the hub; tests must not change the folder."""
    from leaf_st.publishing.prepare import make_folder

    run = shutil.copytree(finished, tmp_path_factory.mktemp("ready") / "tiny")
    make_folder(run, REPO, asymmetric=False, without_results=False)
    return run / "publish"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub for this process, with its ``account``, its ``url``, its ``faults``, and all sleeps in ``slept``."""
    account, slept = Account(tmp_path / "hub"), []
    with serve({}, account=account) as served:
        connect(monkeypatch, served.url, tmp_path / "home")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(time, "sleep", slept.append)
        yield SimpleNamespace(account=account, url=served.url, faults=served.faults, slept=slept)
        close_session()
