import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from families import save_family
from sentence_transformers import SentenceTransformer
from vocabularies import documentation, make_tokenizer

from leaf_st.errors import FieldError, InputError
from leaf_st.export.encoder import OnnxEncoder
from leaf_st.export.export import export_model
from leaf_st.export.forms import get_form
from leaf_st.models.load import load_model
from leaf_st.pipeline import vocabulary
from leaf_st.pipeline.plan import plan
from leaf_st.pipeline.plan_text import format_plan
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.screen import screen
from leaf_st.publishing.report.headline import facts, lead
from leaf_st.publishing.results import read_results
from leaf_st.recipe import PAPER, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.student.kept_tokens import read_kept
from leaf_st.texts.paper.sources import SOURCES

SIZE = 500


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_teacher_folder):
    folder = tmp_path_factory.mktemp("vocabulary")
    source = folder / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in documentation()))
    backbone = save_family("bert", folder, make_tokenizer("wordpiece"))
    return Recipe(
        name="tiny",
        texts=TextsSpec(source=str(source)),
        teacher=TeacherSpec(model=str(tiny_teacher_folder), prompts={"query": "find: ", "document": "text: "}),
        student=StudentSpec(backbone=str(backbone), vocabulary=SIZE, closed_form_rows=8),
        training=TrainingSpec(arguments={"max_steps": 2, "use_cpu": True}),
    )


def _student(recipe, **change):
    return replace(recipe, student=replace(recipe.student, **change))


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    """A trained run; tests must not change the folder."""
    run = Run(recipe, tmp_path_factory.mktemp("runs") / "run")
    run.embed()
    run.train()
    return run.folder


def test_the_student_of_a_run_keeps_the_tokens_of_the_texts(recipe, folder):
    loaded = SentenceTransformer(str(folder / "model"), device="cpu")
    kept = read_kept(folder / "vocabulary.json")
    assert set(loaded.tokenizer.get_vocab()) == set(kept.tokens)
    assert len(kept.tokens) == kept.figures.kept == SIZE == loaded[0].model.config.vocab_size
    assert {"return", "find", "text", ":"} <= set(kept.tokens)
    before = SentenceTransformer(recipe.student.backbone, device="cpu").tokenizer.backend_tokenizer
    texts = list(dict.fromkeys(text.strip() for text in documentation()))
    encoded = [before.encode(f"text: {text}", add_special_tokens=False).tokens[:62] for text in texts]
    lost = [[token not in kept.tokens for token in tokens] for tokens in encoded]
    assert kept.figures.texts == len(texts)
    assert kept.figures.lost_texts == pytest.approx(np.mean(list(map(any, lost))))
    assert kept.figures.lost_tokens == pytest.approx(sum(map(sum, lost)) / sum(map(len, lost)))
    assert 0 < kept.figures.lost_tokens < kept.figures.lost_texts < 1


def test_the_figures_are_recorded_and_reported(folder):
    figures = read_kept(folder / "vocabulary.json").figures
    for place in (folder, folder / "model"):
        assert json.loads((place / "recipe.json").read_text())["vocabulary"] == figures.model_dump()
    results = read_results(folder)
    assert str(figures) in facts(results)
    assert f"bert with at most {SIZE} tokens, trained on" in lead(results)


def test_a_moved_run_resumes_without_counting(recipe, folder, tmp_path, monkeypatch):
    moved = shutil.copytree(folder, tmp_path / "moved")
    shutil.rmtree(moved / "model")
    monkeypatch.setattr(vocabulary, "count_tokens", None)
    run = Run(recipe, moved)
    assert run.recipe.student.tokens == str(moved / "vocabulary.json")
    again, before = run.train(), load_model(str(folder / "model"))
    np.testing.assert_array_equal(again.encode(["a text"]), before.encode(["a text"]))


def test_another_size_is_counted_again_until_training_starts(recipe, folder, tmp_path):
    run = Run(recipe, tmp_path / "run")
    run.embed()
    first = (run.folder / "vocabulary.json").read_bytes()
    assert first == (folder / "vocabulary.json").read_bytes()
    shutil.rmtree(run.folder / "store")  # its texts are cut to other tokens
    Run(_student(recipe, vocabulary=SIZE + 20), run.folder).embed()
    assert read_kept(run.folder / "vocabulary.json").figures.kept == SIZE + 20
    with pytest.raises(InputError, match=r"run of another recipe \(student\.vocabulary was 500, is 520\)"):
        Run(_student(recipe, vocabulary=SIZE + 20), folder)


def test_tokens_come_from_other_texts_or_another_run(recipe, folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("only these words\n")
    run = Run(_student(recipe, vocabulary_from=str(other)), tmp_path / "run")
    run.embed()
    few = read_kept(run.folder / "vocabulary.json")
    assert few.figures.kept < SIZE
    assert (few.figures.texts, few.figures.lost_tokens, few.figures.lost_texts) == (1, 0, 0)
    same = Run(_student(recipe, tokens=str(folder / "vocabulary.json")), tmp_path / "same")
    same.embed()
    assert not (same.folder / "vocabulary.json").exists()
    assert same.recipe.student.tokens == str(folder / "vocabulary.json")


def test_the_paper_s_source_of_tokens_has_all_of_them(recipe, tmp_path):
    others = [name for name, source in SOURCES.items() if source.hub_id]
    paper = replace(recipe, texts=TextsSpec(PAPER, leave_out=others))
    store = Run(paper, tmp_path / "run").embed()
    tokens = {row.text for row in store.texts(range(len(store)))}
    assert len(tokens) > SIZE
    assert {"return", "##ing", "\u043c\u0438\u0440"} <= tokens
    assert read_kept(tmp_path / "run" / "vocabulary.json").figures.kept == SIZE
    assert len(Run(paper, tmp_path / "run").embed()) == len(store)


def test_the_exported_graph_has_the_same_vectors(folder, tmp_path, quick_graph):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = shutil.copytree(folder / "model", tmp_path / "model")
    student = load_model(str(model))
    texts = ["a word", "größere Füße", "x" * 30, "return the value of the argument"]
    export_model(student, model, {"query": texts, "document": texts})
    graph = OnnxEncoder(model / get_form("onnx").file, SentenceTransformer(str(model), device="cpu"))
    np.testing.assert_allclose(graph("query", texts), student.encode_query(texts), atol=1e-5)


def test_a_plan_and_a_screening_count_a_sample(recipe, tmp_path):
    found = plan(recipe, tmp_path / "run")
    assert found.vocabulary.kept == SIZE
    lost = f"vocabulary at most 500 tokens; an estimate from a sample, too low for all texts: {found.vocabulary}"
    assert lost in format_plan(found)
    enough = replace(found, vocabulary=found.vocabulary.model_copy(update={"lost_tokens": 0.0}))
    assert "vocabulary at most 500 tokens; the run counts the tokens of all texts" in format_plan(enough)
    assert not (tmp_path / "run").exists()
    assert Path(screen(recipe, 60).recipe.student.tokens).name == "vocabulary.json"


def test_what_cannot_be_counted_is_refused_before_work(recipe, folder, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(FieldError, match=r"student\.vocabulary: expected at least \d+ tokens, .* found 20: set \d+ or"):
        Run(_student(recipe, vocabulary=20), run).embed()
    with pytest.raises(InputError, match=r"^student\.vocabulary_from none\.txt: "):
        Run(_student(recipe, vocabulary_from="none.txt"), run).embed()
    for file, message in (
        (tmp_path / "none.json", "expected the vocabulary.json of a run, found .*No such file"),
        (folder / "recipe.json", "expected the vocabulary.json of a run, found other content"),
    ):
        with pytest.raises(InputError, match=rf"^student\.tokens .*: {message}"):
            Run(_student(recipe, tokens=str(file)), run).embed()
    with pytest.raises(InputError, match=r"expected tokens for student\.vocabulary=400, found those for 500"):
        Run(_student(recipe, tokens=str(folder / "vocabulary.json"), vocabulary=400), run).embed()
    other = _student(recipe, tokens=str(folder / "vocabulary.json"), backbone=recipe.teacher.model)
    with pytest.raises(InputError, match=r"student\.tokens: expected tokens of the tokenizer of .* another tokenizer"):
        Run(other, run).embed()
    assert not run.exists()
