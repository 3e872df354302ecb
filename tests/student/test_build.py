import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from families import save_family
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from leaf_st.errors import InputError
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import LAYERS, WIDTH
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec
from leaf_st.student.build import build_student
from leaf_st.student.new import new_student
from leaf_st.student.projection import Projection
from leaf_st.teacher.open import open_teacher

TEXTS = ["a small text", "another one which is longer than that"]


def _build(folder, **change):
    return build_student(folder, **{"dimension": WIDTH, "normalized": True, "device": "cpu", **change})


@pytest.mark.parametrize(("normalized", "end"), [(True, [Normalize]), (False, [])])
def test_shape_is_equation_1(tiny_teacher_folder, normalized, end):
    student = _build(tiny_teacher_folder, dimension=48, normalized=normalized)
    assert [type(module) for module in student] == [Transformer, Pooling, Projection, *end]
    assert student[1].pooling_mode == "mean"
    vectors = student.encode(TEXTS, convert_to_tensor=True)
    assert vectors.shape == (2, 48)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2)) is normalized


def test_layers_kept_are_the_teachers(tiny_teacher, tiny_teacher_folder):
    student = _build(tiny_teacher_folder, layers=(0, 2, 5))
    ours, theirs = student[0].model, tiny_teacher[0].model
    assert ours.config.num_hidden_layers == len(ours.encoder.layer) == 3
    assert len(theirs.encoder.layer) == LAYERS
    for kept, index in zip(ours.encoder.layer, (0, 2, 5), strict=True):
        expected = theirs.encoder.layer[index].state_dict()
        assert kept.state_dict().keys() == expected.keys()
        assert all(torch.equal(weight, expected[name]) for name, weight in kept.state_dict().items())
    assert torch.equal(ours.embeddings.word_embeddings.weight, theirs.embeddings.word_embeddings.weight)


def test_all_layers_without_a_choice(tiny_teacher_folder):
    assert len(_build(tiny_teacher_folder)[0].model.encoder.layer) == LAYERS


@pytest.mark.parametrize("layers", [(0, 6), (1, 1), (2, 0), (), (-1, 2)])
def test_layers_that_cannot_be_kept(tiny_teacher_folder, layers):
    with pytest.raises(InputError, match="expected some of the layers 0 to 5 of the bert model in rising order"):
        _build(tiny_teacher_folder, layers=layers)


@pytest.mark.parametrize("name", ["/not/there", "nobody/has-this-model"])
def test_a_backbone_that_is_nowhere_is_named(name):
    with pytest.raises(InputError, match=f"student backbone {name} cannot be loaded"):
        _build(name)


def test_an_object_in_place_of_a_name_or_of_layers_is_named(tiny_teacher, tiny_teacher_folder):
    with pytest.raises(
        InputError, match=r"^backbone: expected a folder or hub id, found a SentenceTransformer: save a"
    ):
        _build(tiny_teacher)
    with pytest.raises(
        InputError, match=r"^layers: expected layer numbers such as \(0, 4, 5\), found a int: name each"
    ):
        _build(tiny_teacher_folder, layers=3)
    assert len(_build(tiny_teacher_folder, layers=np.array([0, 2]))[0].model.encoder.layer) == 2


def test_pickled_weights_are_not_read(tmp_path, tiny_teacher):
    tiny_teacher[0].model.config.save_pretrained(tmp_path)
    tiny_teacher.tokenizer.save_pretrained(tmp_path)
    torch.save(tiny_teacher[0].model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        _build(tmp_path)


def test_training_mode_adds_no_noise(tiny_teacher_folder):
    student = _build(tiny_teacher_folder).train()
    assert student[0].model.config.hidden_dropout_prob > 0
    first, second = (student(student.preprocess(TEXTS))["sentence_embedding"] for _ in range(2))
    assert torch.equal(first, second)


def test_prompts_and_maximum_length_are_saved(tmp_path, tiny_teacher_folder):
    prompts = {"query": "find: ", "document": ""}
    student = _build(tiny_teacher_folder, prompts=prompts, max_length=17)
    student.save_pretrained(str(tmp_path), create_model_card=False)
    loaded = SentenceTransformer(str(tmp_path), device="cpu")
    assert loaded.prompts == prompts
    assert loaded.max_seq_length == 17


def test_weights_are_float32_whatever_the_backbone_was_saved_in(tmp_path, tiny_teacher):
    tiny_teacher.bfloat16().save_pretrained(str(tmp_path), create_model_card=False)
    assert {weight.dtype for weight in _build(tmp_path).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("teacher", "asked", "expected"),
    [(512, None, 64), (None, None, 64), (40, None, 40), (512, 100, 100), (40, 100, 100)],
)
def test_the_default_length_is_the_smaller_of_teacher_and_backbone(tiny_teacher_folder, teacher, asked, expected):
    student = _build(tiny_teacher_folder, teacher_max_length=teacher, max_length=asked)
    assert student.max_seq_length == expected


def test_a_teacher_of_long_texts_takes_a_backbone_of_short_ones(tiny_teacher_folder, tmp_path):
    teacher = open_teacher(TeacherSpec(model=str(save_family("t5", tmp_path))), "cpu")
    recipe = Recipe(name="own", student=StudentSpec(backbone=str(tiny_teacher_folder)))
    for length in (None, 512):
        student = new_student(recipe, replace(teacher.fingerprint, max_length=length), "cpu")
        assert student.max_seq_length == 64


def test_the_student_has_the_similarity_of_the_teacher(tiny_teacher_folder, tmp_path):
    student = _build(tiny_teacher_folder, normalized=False, similarity_fn_name="dot")
    student.save_pretrained(str(tmp_path), create_model_card=False)
    assert SentenceTransformer(str(tmp_path), device="cpu").similarity_fn_name == "dot"
    assert _build(tiny_teacher_folder).similarity_fn_name == "cosine"


def test_a_tokenizer_that_keeps_the_end_keeps_the_start(tiny_teacher_folder, tmp_path, caplog):
    folder = tmp_path / "left"
    shutil.copytree(tiny_teacher_folder, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "truncation_side": "left"}))
    text = "a b c d e f g h i j k l m n o p"
    student, expected = _build(folder, max_length=6), _build(tiny_teacher_folder, max_length=6)
    assert student.preprocess([text])["input_ids"].tolist() == expected.preprocess([text])["input_ids"].tolist()
    assert "keeps the end of a long text; the student keeps the start" in caplog.text


def test_a_student_of_a_backbone_with_a_chat_template_reads_plain_texts(tmp_path):
    folder = save_family("qwen3", tmp_path)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}user: {{ m['content'] }} end{% endfor %}")
    assert "message" in SentenceTransformer(str(folder), device="cpu")[0].modality_config
    student = _build(folder, layers=(0, 3))
    assert student.preprocess(["a"])["input_ids"].tolist() == [student.tokenizer("a")["input_ids"]]
    save_portable(student, tmp_path / "student")
    loaded = SentenceTransformer(str(tmp_path / "student"), device="cpu")
    np.testing.assert_array_equal(loaded.encode(TEXTS), student.encode(TEXTS))
    settings = json.loads((tmp_path / "student" / "sentence_bert_config.json").read_text())
    assert settings.keys() == {"max_seq_length", "do_lower_case"}


def test_a_student_names_no_code(tmp_path):
    folder = save_family("nomic-bert", tmp_path)
    code = {"AutoConfig": "us/code--configuration.NomicBertConfig", "AutoModel": "us/code--modeling.NomicBertModel"}
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text()) | {"auto_map": code}
        (folder / name).write_text(json.dumps(settings))
    save_portable(_build(folder, layers=(0, 1)), tmp_path / "student")
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((tmp_path / "student" / name).read_text())
