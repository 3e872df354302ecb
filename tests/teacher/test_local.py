import json
import shutil

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from leaf_st.errors import InputError
from leaf_st.models.find import content_hash
from leaf_st.models.portable import save_portable
from leaf_st.recipe import TeacherSpec
from leaf_st.student.asymmetric import compose
from leaf_st.student.static import build_static, fit_table
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.precompute import precompute
from leaf_st.texts import Text

# Longer than a batch, lengths in no order, some of them the same and one beyond the 64 tokens that are read.
TEXTS = ["word " * (7 * number % 20 + 1) + str(number) for number in range(37)] + ["", "a", "long " * 50]


def _load(folder, **changes):
    return LocalTeacher.load(TeacherSpec(**{"model": str(folder), "precision": "float32", **changes}), device="cpu")


def test_row_i_is_text_i(local_teacher, tiny_teacher):
    one_by_one = np.stack([tiny_teacher.encode(text) for text in TEXTS])
    np.testing.assert_allclose(local_teacher.encode_document(TEXTS), one_by_one, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = local_teacher.encode_document([TEXTS[row] for row in order])
    np.testing.assert_allclose(shuffled, one_by_one[order], atol=1e-5)


def test_a_text_beyond_the_positions_is_named(tiny_teacher_folder):
    model = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    teacher = LocalTeacher(model, "tiny", "0")
    model.max_seq_length = 5000
    with pytest.raises(InputError, match=r"teacher tiny: .* \(The size .*\) at texts of up to 1,002 tokens: if they"):
        teacher.encode_document(["a b", "a " * 1000])


def test_each_kind_has_its_prompt(tiny_teacher):
    prompts = {"query": "find: ", "document": "a document: "}
    teacher = LocalTeacher(tiny_teacher, "tiny", "0", prompts)
    for kind, prompt in prompts.items():
        expected = tiny_teacher.encode([prompt + text for text in TEXTS[:3]])
        np.testing.assert_allclose(getattr(teacher, f"encode_{kind}")(TEXTS[:3]), expected, atol=1e-5)
    assert teacher.fingerprint.prompts == prompts


def test_the_model_s_own_prompts_fill_in(tiny_teacher):
    tiny_teacher.prompts, tiny_teacher.default_prompt_name = {"query": "own: "}, "query"
    teacher = LocalTeacher(tiny_teacher, "tiny", "0", {"document": "given: "})
    assert teacher.fingerprint.prompts == {"query": "own: ", "document": "given: "}
    expected = tiny_teacher.encode(["given: a"], prompt="")
    np.testing.assert_allclose(teacher.encode_document(["a"]), expected, atol=1e-5)


def test_a_passage_prompt_is_that_of_documents(tiny_teacher):
    tiny_teacher.prompts = {"query": "", "passage": "passage: "}
    teacher = LocalTeacher(tiny_teacher, "tiny", "0")
    expected = tiny_teacher.encode_document(["a"])
    np.testing.assert_allclose(teacher.encode_document(["a"]), expected, atol=1e-5)
    assert teacher.fingerprint.prompts == {"query": "", "document": "passage: "}


def _said(caplog):
    return [record.message for record in caplog.records if record.name.startswith("leaf_st")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("document", "passage"),
        ("document", "corpus"),
        ("document", "search_document"),
        ("document", "retrieval.passage"),
        ("query", "search_query"),
        ("query", "s2p_query"),
    ],
)
def test_a_prompt_that_a_saved_model_does_not_use_is_named(tiny_teacher, tmp_path, caplog, kind, name):
    other = {"query": "document", "document": "query"}[kind]
    tiny_teacher.prompts = {other: "other: ", "clustering": "cluster: ", name: "own: "}
    tiny_teacher.save_pretrained(str(tmp_path / "model"))
    for _ in range(2):
        teacher = _load(tmp_path / "model")
    assert teacher.fingerprint.prompts == {other: "other: ", kind: ""}
    encode = {"query": teacher.encode_query, "document": teacher.encode_document}[kind]
    np.testing.assert_allclose(encode(["a"]), tiny_teacher.encode(["a"], prompt=""), atol=1e-5)
    (said,) = _said(caplog)
    assert f'found "own: " under the name {name}, which' in said
    prompts = json.loads(said.partition("set teacher.prompts=")[2])
    assert prompts == {kind: "own: "}
    caplog.clear()
    for given in (prompts, {kind: ""}):
        assert _load(tmp_path / "model", prompts=given).fingerprint.prompts == {other: "other: ", **given}
    assert not _said(caplog)


def test_a_table_of_token_vectors_can_teach(tiny_teacher):
    table = StaticEmbedding(tiny_teacher.tokenizer.backend_tokenizer, embedding_dim=8)
    model = SentenceTransformer(modules=[table], device="cpu")
    texts = TEXTS[:5]
    vectors = LocalTeacher(model, "table", "0").encode_query(texts)
    np.testing.assert_allclose(vectors, model.encode(texts), atol=1e-6)


def test_normalisation_is_measured(tiny_teacher_folder, tiny_unnormalized_folder):
    assert _load(tiny_teacher_folder).fingerprint.normalized
    unnormalized = _load(tiny_unnormalized_folder)
    assert not unnormalized.fingerprint.normalized
    assert np.abs(np.linalg.norm(unnormalized.encode_query(TEXTS), axis=1) - 1).max() > 0.1


def test_bfloat16_is_near_and_has_norm_1_in_float32(tiny_teacher_folder):
    precise, rough = (_load(tiny_teacher_folder, precision=name) for name in ("float32", "bfloat16"))
    assert rough.fingerprint.precision == "bfloat16"
    vectors = rough.encode_document(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.linalg.norm(vectors - precise.encode_document(TEXTS), axis=1).max() < 0.1


def test_no_texts_give_no_vectors(local_teacher):
    assert local_teacher.encode_query([]).shape == (0, local_teacher.fingerprint.dimension)


def test_the_fingerprint_says_what_shapes_the_vectors(tiny_teacher_folder):
    fingerprint = _load(tiny_teacher_folder, max_length=20).fingerprint
    assert fingerprint.revision == content_hash(tiny_teacher_folder)
    assert (fingerprint.max_length, fingerprint.pooling, fingerprint.dimension) == (20, "mean", 32)


def test_a_length_that_the_model_cannot_read_is_refused(tiny_teacher_folder):
    with pytest.raises(InputError, match=r"teacher\.max_length: .* reads at most 128 tokens, found 129"):
        _load(tiny_teacher_folder, max_length=129)


def test_a_broken_model_is_named(tiny_teacher_folder, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_teacher_folder, folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot be loaded from .*broken"):
        _load(folder)


@pytest.mark.parametrize("damage", [b"", b"not weights", None])
def test_broken_weights_are_named(tiny_teacher_folder, tmp_path, damage):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_teacher_folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(InputError, match=r"cannot be loaded from .*broken"):
        _load(folder)


def test_embedding_leaves_the_model_as_a_user_would_load_it(local_teacher, tiny_teacher, tiny_teacher_folder):
    local_teacher.encode_query(TEXTS)
    same = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    np.testing.assert_array_equal(tiny_teacher.encode(TEXTS), same.encode(TEXTS))


def _targets(model, folder):
    """Embed a query and a document with the teacher saved in ``folder``; return both, and the vectors of ``model``."""
    save_portable(model, folder / "teacher")
    teacher = _load(folder / "teacher")
    rows = [Text("a small text", "query"), Text("another one which is longer", "document")]
    store = precompute(rows, teacher, folder / "store", dtype="float32")
    plain = SentenceTransformer(str(folder / "teacher"), device="cpu")
    expected = np.concatenate([plain.encode_query([rows[0].text]), plain.encode_document([rows[1].text])])
    return store.embeddings([0, 1]), expected


def test_a_prompt_that_pooling_leaves_out_is_left_out(tiny_teacher, tmp_path):
    tiny_teacher[1].include_prompt = False
    tiny_teacher.prompts = {"query": "find this: ", "document": "a document: "}
    found, expected = _targets(tiny_teacher, tmp_path)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    pooled = tiny_teacher.encode(["find this: a small text"], prompt="")
    assert np.linalg.norm(found[0] - pooled[0]) > 1e-3


def test_queries_and_documents_of_a_router_take_their_own_routes(tiny_student, tiny_teacher, tmp_path):
    tiny_student.prompts, tiny_teacher.prompts = {"query": "find: "}, {"document": "a document: "}
    found, expected = _targets(compose(tiny_student, tiny_teacher), tmp_path)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found[0], tiny_student.encode_query("a small text"), atol=1e-5)
    assert np.linalg.norm(found[0] - tiny_teacher.encode("find: a small text")) > 0.1


def test_a_table_starts_from_a_router_teacher(tiny_student, tiny_teacher, tmp_path):
    save_portable(compose(tiny_student, tiny_teacher), tmp_path / "teacher")
    teacher = _load(tmp_path / "teacher")
    student = build_static(tmp_path / "teacher", dimension=32, normalized=True, device="cpu")
    targets = teacher.encode_query(TEXTS)
    before = np.linalg.norm(student.encode(TEXTS) - targets, axis=1).mean()
    fit_table(student, teacher, TEXTS, targets)
    assert np.linalg.norm(student.encode(TEXTS) - targets, axis=1).mean() < before / 2


def test_the_batch_size_is_the_recipe_s_and_changes_no_vector(tiny_teacher_folder, monkeypatch):
    default, small = _load(tiny_teacher_folder), _load(tiny_teacher_folder, batch_size=5)
    assert (default.batch_size, small.batch_size) == (32, 5)
    expected, sizes, forward = default.encode_query(TEXTS), [], SentenceTransformer.forward

    def counted(model, features, **options):
        sizes.append(len(features["input_ids"]))
        return forward(model, features, **options)

    monkeypatch.setattr(SentenceTransformer, "forward", counted)
    np.testing.assert_allclose(small.encode_query(TEXTS), expected, atol=1e-5)
    assert sizes == [5] * 8
    assert small.fingerprint == default.fingerprint


@pytest.mark.parametrize("room", [2, 0])
def test_batches_are_halved_until_they_fit_into_the_memory(tiny_teacher_folder, monkeypatch, room):
    teacher, forward = _load(tiny_teacher_folder, batch_size=5), SentenceTransformer.forward
    expected = teacher.encode_query(TEXTS)

    def limited(model, features, **options):
        if len(features["input_ids"]) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(model, features, **options)

    monkeypatch.setattr(SentenceTransformer, "forward", limited)
    if room:
        np.testing.assert_allclose(teacher.encode_query(TEXTS), expected, atol=1e-5)
        assert teacher.batch_size == 2
    else:
        with pytest.raises(InputError, match=r"^teacher .*: expected room for one text .* \(CUDA out of memory\)"):
            teacher.encode_query(TEXTS)
