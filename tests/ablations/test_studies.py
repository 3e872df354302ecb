import json
import math
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from leaf_st.errors import InputError
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.student.new import new_student
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.arguments import training_arguments

README = Path(__file__).parents[2] / "recipes" / "ablations" / "README.md"
MODES = ("standard", "asymmetric")
VARIANTS = {
    "pooling": ["mean", "cls", "max"],
    "learning_rate": [f"{name} x 1" for name in ("constant", "linear by step", "linear by epoch", "cosine by step")],
    "batch_size": [f"batches of {size}" for size in (16, 32, 64, 128, 256)],
    "sources": ["queries", "documents", "definitions", "all"],
    "losses": ["LEAF", "MiniLM", "TinyBERT", "DistilBERT"],
}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("studies") / "ablations"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return tmp_path_factory.mktemp("studies") / "searched"


def _table(printed):
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_smoke_run_of_each_study(run, name, texts, output):
    header, _, *rows = _table(run(name, "--smoke", "--texts", texts, "--output", output, "--data"))
    assert header[:6] == ["variant", "texts", "samples", "steps", "minutes", "L2"]
    assert [row[0] for row in rows] == VARIANTS[name]
    assert {row[3] for row in rows} == {"2"}
    losses = [float(row[5]) for row in rows]
    assert all(0 < loss < 2 for loss in losses)  # of vectors of norm 1
    outcomes = json.loads((output / "report" / f"{name}.json").read_text())
    assert [outcome["l2"]["all"] for outcome in outcomes] == pytest.approx(losses, abs=1e-4)


def test_what_was_trained_is_not_trained_again(run, texts, output):
    arguments = ("--smoke", "--texts", texts, "--output", output, "--data")
    first = run("pooling", *arguments)
    again = run("pooling", *arguments)
    assert "pooling: " not in again
    assert _table(again) == _table(first)
    assert "LEAF" not in run("losses", *arguments, "--variants", "LEAF").partition("|")[0]  # it is the pooling by mean
    assert "pooling: mean" in run("pooling", *arguments, "--seed", 7, "--variants", "mean")


def test_the_sets_are_searched_and_the_teacher_once(run, texts, beir, searched, monkeypatch):
    arguments = ("--smoke", "--texts", texts, "--output", searched, "--data", beir)
    header, _, mean, cls, teacher = _table(run("pooling", *arguments, "--variants", "mean", "cls"))
    assert header[-2:] == ["nDCG@10, standard", "nDCG@10, asymmetric"]
    assert teacher[0] == "teacher"
    assert all(0 < float(row[-1]) <= 100 for row in (mean, cls, teacher))
    kept = sorted((searched / "results").glob("teacher-*.float32"))
    assert len(kept) == 2  # queries and documents
    outcomes = json.loads((searched / "report" / "pooling.json").read_text())
    assert [list(outcome["ndcg"]) for outcome in outcomes] == [["letters"]] * 2


def test_the_objective_is_measured_by_scores_and_by_agreement(run, texts, beir, tmp_path):
    names = ["baseline", "mean of the last 50 %", "warm-up of 5 %", "queries last", "L2 + prefixes", "layers 0,5"]
    arguments = ("--smoke", "--texts", texts, "--output", tmp_path / "run", "--data", beir)
    header, _, *rows, teacher = _table(run("objective", *arguments, "--variants", *names))
    assert header[-4:] == [f"{value}, {mode}" for value in ("nDCG@10", "agreement@10") for mode in MODES]
    assert [row[0] for row in rows] == names
    assert all(0 <= float(cell) <= 100 for row in rows for cell in row[-4:])
    assert teacher[-2:] == ["100.0", "100.0"]
    losses = {row[0]: float(row[5]) for row in rows}
    assert losses["L2 + prefixes"] != losses["baseline"] != losses["layers 0,5"]


def test_a_figure_has_axes_with_units(run, texts, output):
    pytest.importorskip("matplotlib")
    for name in VARIANTS:
        printed = run(name, "--smoke", "--texts", texts, "--output", output, "--data")
        assert f"{name}.svg" in printed
        figure = (output / "report" / f"{name}.svg").read_text()
        assert len(figure) < 60_000
        assert "L2, held-out texts" in figure


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "median"], "--variants median: expected some of mean, cls, max"),
        (["--samples", "31"], "--samples: expected at least 32, the batch size of mean, found 31"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_run_is_refused_before_embedding(
    run, texts, tiny_teacher_folder, tmp_path, capsys, arguments, message
):
    common = ("--teacher", tiny_teacher_folder, "--texts", texts, "--output", tmp_path / "run", "--data")
    with pytest.raises(SystemExit) as stopped:
        run("pooling", *common, *(arguments if arguments[0] != "--data" else arguments[1:]))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "store").exists()


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("sources", b"PAR1 no footer PAR1", [], "sources: texts "),
        ("sources", {"text": ["a", "b"]}, [], "expected texts of every group, found no queries"),
        (
            "learning_rate",
            {"text": list("abcdefghijkl")},
            ["--samples", "3200"],
            "expected 32 training texts for an epoch, found 11 in ",
        ),
    ],
)
def test_texts_that_do_not_do_are_refused_before_embedding(
    run, tiny_teacher_folder, tmp_path, capsys, name, content, arguments, message
):
    texts = tmp_path / "texts.parquet"
    if isinstance(content, bytes):
        texts.write_bytes(content)
    else:
        pq.write_table(pa.table(content), texts)
    common = ("--teacher", tiny_teacher_folder, "--texts", texts, "--output", tmp_path / "run")
    with pytest.raises(SystemExit) as stopped:
        run(name, *common, *arguments, "--data")
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_ctrl_c_is_one_line(run, texts, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("leaf_st.pipeline.run.Run.embed", interrupt)
    with pytest.raises(SystemExit) as stopped:
        run("pooling", "--smoke", "--texts", texts, "--output", tmp_path / "run", "--data")
    assert stopped.value.code == 130
    expected = "stopped; the same command resumes: finished embeddings and models are kept"
    assert capsys.readouterr().err.strip().splitlines()[-1] == expected


def test_pooling_is_what_its_name_says(run, texts, output, tiny_student):
    from pooling import pool

    features = {
        "token_embeddings": torch.tensor([[[1.0, 5.0], [3.0, 1.0], [9.0, 9.0]]]),
        "attention_mask": torch.tensor([[1, 1, 0]]),
    }
    expected = {"mean": [2.0, 3.0], "cls": [1.0, 5.0], "max": [3.0, 5.0]}
    for mode, vector in expected.items():
        pool(tiny_student, mode)
        assert tiny_student[1](dict(features))["sentence_embedding"].tolist() == [vector]
    assert tiny_student.encode("a").shape == (32,)


def test_cosine_goes_from_the_start_rate_to_the_end_rate(run):
    from learning_rate import CosineTrainer

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-3)
    trainer = SimpleNamespace(
        _spec=SimpleNamespace(end_learning_rate=1e-3), args=SimpleNamespace(learning_rate=3e-3), optimizer=optimizer
    )
    schedule = CosineTrainer.create_scheduler(trainer, 5)
    rates = []
    for _ in range(5):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    expected = [1e-3 + 2e-3 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(5)]
    assert rates == pytest.approx(expected)
    assert (rates[0], rates[-1]) == pytest.approx((3e-3, 1e-3))


def test_groups_are_equally_large_and_hold_what_they_say(run, texts, output):
    run("sources", "--smoke", "--texts", texts, "--output", output, "--data")
    from sources import groups

    store = EmbeddingStore(output / "store")
    rows = np.arange(5, len(store))
    kinds = np.array([text.kind for text in store.texts(rows)])
    found = groups(store, rows, TextsSpec(source=str(texts)))
    source_of = dict(zip(*(pq.read_table(texts)[name].to_pylist() for name in ("text", "source")), strict=True))
    sources = {name: {source_of[text.text] for text in store.texts(chosen)} for name, chosen in found.items()}
    assert sources == {
        "queries": {"web"},
        "documents": {"arxiv"},
        "definitions": {"wordnet_glosses"},
        "all": {"web", "arxiv", "wordnet_glosses"},
    }
    assert len({len(chosen) for chosen in found.values()}) == 1
    for chosen in found.values():
        assert len(set(chosen)) == len(chosen)
        assert set(chosen) <= set(rows)
    with pytest.raises(InputError, match="found no queries"):
        groups(store, rows[kinds == "document"], TextsSpec(source=str(texts)))


def test_texts_without_sources_have_no_definitions(run, tmp_path, capsys):
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"text": "a text"}) + "\n")
    with pytest.raises(SystemExit):
        run("sources", "--smoke", "--texts", texts, "--output", tmp_path / "run", "--variants", "definitions", "--data")
    printed = capsys.readouterr()
    assert "in a column `source`: leaving out definitions" in printed.out
    assert "definitions: expected some of queries, documents, all" in printed.err


def test_training_reads_the_rows_it_is_given_alone(run, texts, output, tiny_teacher_folder):
    run("pooling", "--smoke", "--texts", texts, "--output", output, "--data", "--variants", "mean")
    from _study import StudyTrainer

    store = EmbeddingStore(output / "store")
    recipe = Recipe(
        name="tiny",
        teacher=TeacherSpec(model=str(tiny_teacher_folder)),
        student=StudentSpec(layers=(0, 2)),
        training=TrainingSpec(held_out_rows=16, arguments={"use_cpu": True, "num_train_epochs": 1}),
    )
    student = new_student(recipe, store.fingerprint)
    rows = np.array([3, 50, 51, 99])
    trainer = StudyTrainer(student, store, recipe.training, training_arguments(recipe, output, "cpu"), rows)
    batches = list(trainer.get_train_dataloader().batch_sampler)
    assert sorted(row for batch in batches for row in batch) == rows.tolist()
    assert trainer.sample(2) == sorted(set(trainer.sample(2)) & set(rows.tolist()))
    assert trainer.sample(100) == rows.tolist()
    held_out = list(trainer.get_eval_dataloader().batch_sampler)
    assert sum(map(len, held_out)) == 16


def test_the_readme_shows_commands_that_parse(run):
    import _command

    commands = re.findall(r"python recipes/ablations/(\w+)\.py(.*)", README.read_text(encoding="utf-8"))
    assert {name for name, _ in commands} == {*VARIANTS, "matryoshka", "objective"}
    for _, arguments in commands:
        _command.common_parser(None, "").parse_args(shlex.split(arguments, comments=True))
