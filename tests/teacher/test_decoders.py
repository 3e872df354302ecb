"""Teachers that pool the last token, which is the end token of a text, with padding on either side."""

import json
from dataclasses import replace

import numpy as np
import pytest
from families import POSITIONS, WIDTH, save_teacher
from hub import serve
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from leaf_st.errors import InputError
from leaf_st.models.find import content_hash
from leaf_st.models.portable import save_portable
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec
from leaf_st.student.build import build_student
from leaf_st.student.start import load_start
from leaf_st.teacher.kind import DOCUMENTS
from leaf_st.teacher.open import kind_of, open_teacher, require_teacher, teacher_spec

PROMPTS = {"query": "find: ", "document": ""}
TEXTS = ["a", "a longer text, with punctuation", "x " * 300]


@pytest.fixture(scope="module", params=["qwen3", "llama", "mistral"])
def folder(request, tmp_path_factory):
    return save_teacher(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def teacher(folder):
    return open_teacher(TeacherSpec(str(folder), prompts=PROMPTS, precision="float32"), "cpu")


def test_padding_is_on_the_side_of_the_tokenizer(folder, teacher):
    sides = {"qwen3": "left"}
    assert teacher._model.tokenizer.padding_side == sides.get(teacher._model[0].model.config.model_type, "right")
    assert teacher.fingerprint.pooling == "lasttoken"


def test_a_batch_gives_the_vectors_of_single_texts(teacher):
    for encode in (teacher.encode_query, teacher.encode_document):
        one_by_one = np.concatenate([encode([text]) for text in TEXTS])
        np.testing.assert_allclose(encode(TEXTS), one_by_one, atol=1e-5)


def test_a_prompt_stands_before_the_text(teacher):
    np.testing.assert_allclose(
        teacher.encode_query(TEXTS), teacher.encode_document(["find: " + text for text in TEXTS]), atol=1e-5
    )
    assert not np.allclose(teacher.encode_query(TEXTS), teacher.encode_document(TEXTS), atol=1e-2)


def test_a_text_that_is_cut_still_ends_in_the_end_token(teacher):
    model = teacher._model
    ids = model.preprocess([TEXTS[2]])["input_ids"][0].tolist()
    assert len(ids) == POSITIONS
    assert ids[-1] == model.tokenizer.sep_token_id
    kept = "x " * (POSITIONS - 2)  # the tokens that remain beside the first and the last one
    np.testing.assert_allclose(teacher.encode_document([TEXTS[2]]), teacher.encode_document([kept]), atol=1e-5)


def test_the_student_pools_the_mean(folder):
    student = build_student(folder, dimension=WIDTH, normalized=True, device="cpu")
    assert [module.pooling_mode for module in student if isinstance(module, Pooling)] == ["mean"]


def _with_end_by_setting(folder, kind):
    """Change the tokenizer in ``folder`` to that of e5-mistral, whose end token is added by a setting only."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    first = ("[CLS]", tokenizer.token_to_id("[CLS]"))
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[first])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": kind, "bos_token": "[CLS]", "eos_token": "[SEP]"}
    config |= {"add_bos_token": True, "add_eos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_an_end_token_that_transformers_leaves_out_is_added(tmp_path, caplog):
    folder = save_teacher("mistral", tmp_path)
    spec = TeacherSpec(str(folder), prompts=PROMPTS, precision="float32")
    expected = open_teacher(spec, "cpu").encode_query(TEXTS)
    _with_end_by_setting(folder, "LlamaTokenizer")
    assert not np.allclose(
        SentenceTransformer(str(folder), device="cpu").encode(TEXTS, prompt="find: "), expected, atol=0.1
    )
    teacher = open_teacher(spec, "cpu")
    np.testing.assert_allclose(teacher.encode_query(TEXTS), expected, atol=1e-5)
    assert caplog.text.count("ends each text with [SEP], as add_eos_token in its tokenizer_config.json asks") == 1
    assert teacher.fingerprint.revision == f"{content_hash(folder)} with [SEP]"
    require_teacher(spec, teacher.fingerprint, "store vectors")
    earlier = replace(teacher.fingerprint, revision=content_hash(folder))
    problem = r"^store vectors was made by an earlier version of leaf-st, which left out the end token \[SEP\] of each"
    with pytest.raises(InputError, match=problem):
        require_teacher(spec, earlier, "store vectors")
    with pytest.raises(InputError, match=problem):
        teacher.fingerprint.require_same(earlier.to_dict(), "store vectors")
    other = replace(teacher.fingerprint, revision="0" * 16)
    with pytest.raises(InputError, match="made by another teacher: expected revision"):
        require_teacher(spec, other, "store vectors")


def test_a_student_of_such_a_teacher_keeps_the_end_token_in_its_files(tmp_path):
    folder = save_teacher("mistral", tmp_path)
    _with_end_by_setting(folder, "LlamaTokenizer")
    student = build_student(folder, dimension=WIDTH, normalized=True, device="cpu")
    assert student.tokenizer("a")["input_ids"][-1] == student.tokenizer.eos_token_id
    save_portable(student, tmp_path / "student")
    loaded = SentenceTransformer(str(tmp_path / "student"), device="cpu")
    np.testing.assert_array_equal(loaded.encode(TEXTS), student.encode(TEXTS))


@pytest.fixture
def ended(tmp_path):
    """Folder of a teacher whose end token is added by a setting only."""
    folder = save_teacher("mistral", tmp_path)
    _with_end_by_setting(folder, "LlamaTokenizer")
    return folder


def test_the_code_on_a_card_adds_the_end_token(ended):
    spec = TeacherSpec(str(ended), precision="float32")
    teacher = open_teacher(spec, "cpu")
    names = {"SentenceTransformer": SentenceTransformer}
    exec(kind_of(spec).code(spec, "us/student", "", teacher.fingerprint.revision).lines, names)
    np.testing.assert_allclose(names["documents"], teacher.encode_document(DOCUMENTS), atol=1e-5)
    assert "tokenizer" not in kind_of(spec).code(spec, "us/student", "", content_hash(ended)).lines


def _student_of(spec, revision, folder):
    """Save a student that records the teacher of ``spec`` with another ``revision``."""
    fingerprint = replace(open_teacher(spec, "cpu").fingerprint, revision=revision)
    student = build_student(spec.model, dimension=WIDTH, normalized=True, device="cpu")
    recipe = Recipe(name="own", teacher=spec, student=StudentSpec(backbone=spec.model))
    save_portable(student, folder, {"resolved": recipe.to_dict(), "teacher": fingerprint.to_dict()})
    return str(folder)


def test_a_student_that_learned_without_the_end_token_is_named(ended, tmp_path):
    spec = TeacherSpec(str(ended), precision="float32")
    name = _student_of(spec, content_hash(ended), tmp_path / "student")
    problem = f"student.* {name} was made by an earlier version of leaf-st, which left out the end token .SEP. of each"
    with pytest.raises(InputError, match=problem):
        teacher_spec(name)
    with pytest.raises(InputError, match=problem):
        load_start(name, open_teacher(spec, "cpu").fingerprint)


def test_a_student_of_a_teacher_on_the_hub_learned_with_the_same_end_token(ended, connect_to, tmp_path):
    spec = TeacherSpec("us/ended", precision="float32")
    with serve({"us/ended": ended}) as hub:
        connect_to(hub.url)
        revision = open_teacher(spec, "cpu").fingerprint.revision
        assert revision.endswith(" with [SEP]")
        assert teacher_spec(_student_of(spec, revision, tmp_path / "student")).model == "us/ended"
        earlier = _student_of(spec, revision.removesuffix(" with [SEP]"), tmp_path / "earlier")
        with pytest.raises(InputError, match=r"^student .* was made by an earlier version of leaf-st"):
            teacher_spec(earlier)


def test_a_damaged_tokenizer_is_another_teacher(ended):
    spec = TeacherSpec(str(ended), precision="float32")
    fingerprint = open_teacher(spec, "cpu").fingerprint
    (ended / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match="made by another teacher: expected revision"):
        require_teacher(spec, fingerprint, "store vectors")


def test_a_tokenizer_that_never_followed_the_setting_stays_as_it_is(tmp_path):
    folder = save_teacher("mistral", tmp_path)
    _with_end_by_setting(folder, "PreTrainedTokenizerFast")
    teacher = open_teacher(TeacherSpec(str(folder), precision="float32"), "cpu")
    plain = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(teacher.encode_document(TEXTS), plain.encode(TEXTS), atol=1e-5)
    assert teacher.fingerprint.revision == content_hash(folder)
