import copy
import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, WordEmbeddings
from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

from leaf_st.models.find import content_hash
from leaf_st.models.identity import Identity, identify
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.recipe import Recipe, StudentSpec
from leaf_st.student.static import build_static


def test_the_same_files_are_the_same_model(tiny_teacher, tiny_teacher_folder):
    once = identify(tiny_teacher)
    tiny_teacher.encode(["a text that the tokenizer pads", "b"])  # and remembers that it did
    again = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    assert once == identify(tiny_teacher) == identify(again)
    assert once.name == f"local/{tiny_teacher_folder.name}"


def _weights(model):
    with torch.no_grad():
        next(model.parameters()).mul_(1.001)  # the last parameters are zero biases


def _dtype(model):
    model.to(torch.bfloat16)


def _pooling(model):
    model[1].pooling_mode = "cls"


def _prompts(model):
    model.prompts = {"query": "find ", "document": ""}


def _length(model):
    model.max_seq_length = 16


def _width(model):
    model.truncate_dim = WIDTH // 2


def _lowercase(model):
    model.tokenizer.backend_tokenizer.normalizer = None


def _side(model):
    model.tokenizer.truncation_side = "left"


@pytest.mark.parametrize("change", [_weights, _dtype, _pooling, _prompts, _length, _width, _lowercase, _side])
def test_whatever_shapes_the_vectors_is_another_model(change, tiny_teacher):
    other = copy.deepcopy(tiny_teacher)
    assert identify(other) == identify(tiny_teacher)
    change(other)
    assert identify(other).revision != identify(tiny_teacher).revision


def test_a_trained_model_has_the_name_of_its_recipe(tiny_student, tmp_path):
    recipe = Recipe(name="own", student=StudentSpec(layers=(0, 2)))
    save_portable(tiny_student, tmp_path / "model", {"resolved": recipe.to_dict()})
    assert identify(load_model(str(tmp_path / "model"))).name == "local/own"
    save_portable(tiny_student, tmp_path / "plain")
    assert identify(load_model(str(tmp_path / "plain"))).name == "local/plain"


@pytest.mark.parametrize("record", [{}, {"resolved": {"name": "own"}}])
def test_a_run_and_its_model_folder_have_one_name(record, tiny_student, tmp_path, monkeypatch):
    save_portable(tiny_student, tmp_path / "run" / "model")
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    found = {identify(load_model(name)) for name in ("run", "run/model", str(tmp_path / "run"), "./run/model/")}
    assert [identity.name for identity in found] == ["local/own" if record else "local/run"]


def test_a_table_of_tokens_has_an_identity(tiny_teacher_folder):
    tables = [build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu") for _ in range(2)]
    first, second = map(identify, tables)  # random
    assert first.name == second.name == "local/unnamed"
    assert first.revision != second.revision


def _words(**settings):
    words = ["text", "cats", "dogs"]
    tokenizer = WhitespaceTokenizer(words, **{"stop_words": {"of", "the", "a"}, "do_lower_case": True, **settings})
    return SentenceTransformer(modules=[WordEmbeddings(tokenizer, np.eye(3)), Pooling(3)], device="cpu")


def test_a_table_of_words_has_an_identity():
    assert identify(_words()) == identify(_words(stop_words={"a", "the", "of"}))
    revisions = {
        identify(model).revision for model in (_words(), _words(stop_words={"a"}), _words(do_lower_case=False))
    }
    assert len(revisions) == 3


def test_the_files_of_a_table_of_words_are_part_of_its_hash(tmp_path):
    hashes = set()
    for number, settings in enumerate([{}, {"stop_words": {"a"}}, {"do_lower_case": False}]):
        folder = tmp_path / str(number)
        _words(**settings).save_pretrained(str(folder), create_model_card=False)
        hashes.add(content_hash(folder))
    config = folder / "wordembedding_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_seq_length": 2}))
    assert len({*hashes, content_hash(folder)}) == 4


def test_student_and_teacher_are_a_third_model():
    both = Identity("us/student", "12").with_teacher(Identity("them/teacher", "34"))
    assert both == Identity("us/student+them/teacher", "12+34")
    assert str(both) == "us/student+them/teacher (12+34)"


def _pooling_of_a_route(pair):
    pair[0].sub_modules["document"][1].pooling_mode = "cls"


def _lowercase_of_a_route(pair):
    pair[0].sub_modules["document"][0].tokenizer.backend_tokenizer.normalizer = None


@pytest.mark.parametrize("change", [_pooling_of_a_route, _lowercase_of_a_route])
def test_the_modules_of_a_router_are_a_part_of_it(change, composed, tiny_teacher):
    before = identify(composed)
    assert identify(composed) == before
    change(composed)
    after = identify(composed)
    assert after.revision != before.revision
    assert after.earlier == before.earlier  # earlier versions saw no difference
    assert after.has_revision(after.earlier)
    assert identify(tiny_teacher).earlier is None
