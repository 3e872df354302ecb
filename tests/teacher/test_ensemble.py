import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from api import KEY, hashed, serve
from api import WIDTH as API_WIDTH
from sentence_transformers import SentenceTransformer

from leaf_st import Text, open_teacher, precompute
from leaf_st.errors import InputError
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec
from leaf_st.teacher.compared import compared
from leaf_st.teacher.ensemble.axes import fit_axes, read_axes
from leaf_st.teacher.open import kind_of, open_teacher_model, require_teacher
from leaf_st.teacher.protocol import Service
from leaf_st.teacher.store import EmbeddingStore

TEXTS = ["a small text", "another one which is longer than that", "7", "what is a leaf?", "zebras and grass"]
ROWS = [Text(text, ("query", "document")[number % 2]) for number, text in enumerate(TEXTS)]


@pytest.fixture
def other(narrow_student, tmp_path):
    """Folder of a second teacher of another width."""
    save_portable(narrow_student, tmp_path / "other")
    return tmp_path / "other"


@pytest.fixture
def spec(tiny_unnormalized_folder, other):
    members = [
        TeacherSpec(model=str(tiny_unnormalized_folder), prompts={"query": "find: "}),
        TeacherSpec(model=str(other), weight=2),
    ]
    return TeacherSpec(ensemble=members).with_models(precision="float32")


def _changed(spec, number=1, **values):
    members = list(spec.ensemble)
    members[number] = replace(members[number], **values)
    return replace(spec, ensemble=members)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["query", "document"])
def test_a_cosine_is_the_mean_of_the_members_cosines_weighted_by_the_squared_weights(spec, kind):
    first, second = (SentenceTransformer(member.model, device="cpu") for member in spec.ensemble)
    prompt = "find: " if kind == "query" else ""
    parts = _unit(first.encode(TEXTS, prompt=prompt)), _unit(second.encode(TEXTS, prompt=""))
    teacher = open_teacher(spec, "cpu")
    vectors = getattr(teacher, f"encode_{kind}")(TEXTS)
    np.testing.assert_allclose(vectors, _unit(np.concatenate([parts[0], 2 * parts[1]], axis=1)), atol=1e-5)
    expected = (parts[0] @ parts[0].T + 4 * parts[1] @ parts[1].T) / 5
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)
    np.testing.assert_allclose(teacher.similarity(vectors, vectors), expected, atol=1e-5)
    assert teacher.dimension == vectors.shape[1] == WIDTH + WIDTH // 2
    assert teacher.prompts == {"query": "", "document": ""}
    assert teacher.fingerprint.normalized
    assert teacher.parameters == sum(weight.numel() for model in (first, second) for weight in model.parameters())


def test_the_fingerprint_covers_weights_and_settings_and_needs_no_loaded_model(spec, tmp_path):
    store = precompute(ROWS, open_teacher(spec, "cpu"), tmp_path / "store")
    EmbeddingStore(store.folder, open_teacher(spec, "cpu").fingerprint)
    require_teacher(spec, store.fingerprint, "the store")
    for changed, message in (
        (_changed(spec, weight=3.0), r"expected revision .*3\.0 x .*found .*2\.0 x "),
        (_changed(spec, max_length=9), r'expected revision .*"max_length": 9.*found '),
        (_changed(spec, number=0, prompts={}), r"expected revision .*found .*find: "),
        (replace(spec, prompts={"query": "q: "}), r"expected prompts \{'query': 'q: '\}, found "),
        (replace(spec, ensemble=spec.ensemble[::-1]), r"expected revision "),
    ):
        with pytest.raises(InputError, match=message):
            require_teacher(changed, store.fingerprint, "the store")
    with pytest.raises(InputError, match=r"expected precision bfloat16, found float32"):
        require_teacher(spec.with_models(precision="bfloat16"), store.fingerprint, "the store")
    with pytest.raises(InputError, match=r"expected revision "):
        precompute(ROWS, open_teacher(_changed(spec, weight=3.0), "cpu"), store.folder)


def test_axes_are_the_principal_axes_without_centring(tmp_path):
    rows = np.random.default_rng(0).normal(1, 3, (50, 6)).astype(np.float32)
    fit_axes([rows[:20], rows[20:]], 2, tmp_path / "new" / "axes.safetensors")
    axes = read_axes(tmp_path / "new" / "axes.safetensors", 6, 2)
    expected = np.linalg.svd(rows.astype(np.float64))[2][:2].T
    np.testing.assert_allclose(np.abs(np.sum(axes * expected, axis=0)), 1, atol=1e-6)
    with pytest.raises(InputError, match=r"expected 3 axes of 6 numbers, found 2 of 6"):
        read_axes(tmp_path / "new" / "axes.safetensors", 6, 3)
    with pytest.raises(InputError, match=r"teacher\.axes: expected a file of principal axes, found .*missing"):
        read_axes(tmp_path / "missing", 6, 3)
    (tmp_path / "damaged").write_text("{}")
    with pytest.raises(InputError, match=r"teacher\.axes: expected a file of principal axes, found .*damaged"):
        read_axes(tmp_path / "damaged", 6, 3)


def test_a_projection_is_part_of_the_fingerprint(spec, tmp_path):
    projected = replace(spec, dimensions=4)
    teacher, path = open_teacher(projected, "cpu"), tmp_path / "axes.safetensors"
    assert teacher.dimension == 4
    with pytest.raises(InputError, match=r"teacher\.axes: expected the principal axes of the ensemble, found None"):
        teacher.encode_query(TEXTS)
    assert projected.needs_fit
    teacher.fit(ROWS, path)
    teacher.use(path)
    fitted = projected.with_fit(path)
    wide = open_teacher(spec, "cpu").encode_document(TEXTS)
    np.testing.assert_allclose(teacher.encode_document(TEXTS), _unit(wide @ read_axes(path, 48, 4)), atol=1e-5)
    assert open_teacher(fitted, "cpu").fingerprint == teacher.fingerprint
    require_teacher(fitted, teacher.fingerprint, "the store")
    teacher.fit(ROWS[:4], path)
    with pytest.raises(InputError, match=r"expected revision .* on 4 axes \w+.* found .* on 4 axes "):
        require_teacher(fitted, teacher.fingerprint, "the store")
    with pytest.raises(InputError, match=r"expected at least 4 texts to fit as many axes, found 3"):
        teacher.fit(ROWS[:3], path)
    with pytest.raises(InputError, match=r"teacher\.dimensions: expected at most 48, .* found 49"):
        open_teacher(replace(spec, dimensions=49), "cpu")


def test_members_that_are_apis_are_paid_checked_and_not_loaded(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve() as server:
        api = server.spec(price_per_million_tokens=2.0)
        mixed = replace(spec, ensemble=[spec.ensemble[0], api])
        teacher = open_teacher(mixed, "cpu")
        assert isinstance(teacher, Service)
        assert not isinstance(open_teacher(spec, "cpu"), Service)
        assert teacher.parameters is None
        store = precompute(ROWS, teacher, tmp_path / "store")
        assert store.dimension == WIDTH + API_WIDTH
        assert (tmp_path / "store" / "member-1" / "probes.npy").is_file()
        assert all(server.asked[text] == 1 for text in TEXTS)
        assert precompute(ROWS, open_teacher(mixed, "cpu"), tmp_path / "store").rows == len(ROWS)
        assert all(server.asked[text] == 1 for text in TEXTS)
        require_teacher(mixed, store.fingerprint, "the store")
        assert teacher.price_per_text(ROWS) == pytest.approx(2e-6 * teacher.tokens_per_text(ROWS))
        allowed = kind_of(mixed).tokens_of_budget(mixed, 0.001, None)
        assert allowed == 500
        with pytest.raises(InputError, match=r"the budget of 500 tokens"):
            precompute([Text("a long text " * 300, "query")], open_teacher(mixed, "cpu", allowed), tmp_path / "more")
        with pytest.raises(InputError, match=r"expected local models, found the API loopback"):
            open_teacher_model(mixed)
        with pytest.raises(InputError, match=r"exactly one paid API: .* found 2"):
            kind_of(spec).tokens_of_budget(replace(spec, ensemble=[api, api]), 1.0, None)
        server.change = lambda rows: [{**row, "embedding": row["embedding"][::-1]} for row in rows]
        server.base64 = False
        with pytest.raises(InputError, match=r"at the start of .*member-1"):
            precompute(ROWS, open_teacher(mixed, "cpu"), tmp_path / "store")


def test_the_price_is_the_sum_of_what_each_member_costs(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows = [Text("t" * 40, "document")]  # 10 tokens
    with serve() as server:
        cheap = server.spec(price_per_million_tokens=1.0)
        dear = server.spec(price_per_million_tokens=5.0, prompts={"document": "p" * 360})  # 90 tokens
        teacher = open_teacher(TeacherSpec(ensemble=[cheap, dear]), "cpu")
        assert teacher.tokens_per_text(rows) == pytest.approx(10 + 100)
        assert teacher.price_per_text(rows) == pytest.approx((10 * 1.0 + 100 * 5.0) / 1e6)
        assert open_teacher(TeacherSpec(ensemble=[cheap, server.spec()]), "cpu").price_per_text(rows) is None


def test_each_api_is_asked_whether_it_accepts_the_texts(spec, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    texts = [Text("short", "query"), Text("a long text " * 9, "document")]
    with serve() as server:
        limited = server.spec(max_length=64, tokenizer=spec.ensemble[0].model)
        members = [[server.spec(), spec.ensemble[0]], [server.spec(), limited]]
        unlimited, one_limit = (open_teacher(replace(spec, ensemble=found), "cpu") for found in members)
    unlimited.require_accepted(lambda: pytest.fail("no length is known"))
    one_limit.require_accepted(lambda: texts[:1])
    with pytest.raises(InputError, match=r"^the text .a long text .* tokens: expected at most teacher\.max_length=64;"):
        one_limit.require_accepted(lambda: texts)


def test_a_member_that_reads_starts_is_noted(spec, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    long = "a long text " * 100
    with serve(reads=128) as server:
        teacher = open_teacher(replace(spec, ensemble=[server.spec(), spec.ensemble[1]]), "cpu")
        assert not teacher.reads_starts
        with compared():
            vectors = teacher.encode_document([long, ""])
        assert teacher.reads_starts
    np.testing.assert_allclose(vectors[0, :API_WIDTH] * 5**0.5, hashed(long[:512]), atol=1e-6)
    assert not vectors[1, :API_WIDTH].any()


def test_invalid_ensembles_are_refused(spec):
    for values, message in (
        ({"max_length": 8}, r"^teacher\.max_length: expected no value with teacher\.ensemble, found one: set max"),
        ({"precision": "float32"}, r"^teacher\.precision: expected auto with teacher\.ensemble"),
        ({"ensemble": spec.ensemble[:1]}, r"^teacher\.ensemble: expected at least two members"),
        ({"ensemble": [spec, spec]}, r"^teacher\.ensemble: expected models and APIs, found a member with ensemble:"),
        ({"vector_column": "v"}, r"^teacher\.vector_column: .* found one: remove the value or the ensemble"),
        (
            {"ensemble": [{"model": "a", "store_dtype": "float32"}, {"model": "b"}]},
            r"^teacher\.ensemble: expected no store_dtype in a member, found 'float32': set teacher\.store_dtype",
        ),
        ({"ensemble": [{"model": "a", "rows_per_shard": 8}, {}]}, r"^teacher\.ensemble: expected no rows_per_shard"),
        ({"axes": "axes"}, r"^teacher\.dimensions: expected the number of teacher\.axes"),
        (
            {"ensemble": [{"model": "a"}, {"model": "b", "weight": 0}]},
            r"^teacher\.ensemble\.1\.weight: expected number",
        ),
        ({"ensemble": [{"api": {"url": "x", "model": "a"}}] * 2}, r"^teacher\.ensemble\.0\.api\.url: expected an"),
    ):
        with pytest.raises(InputError, match=message):
            replace(spec, **values)
    for teacher, student, message in (
        (spec, StudentSpec(layers=(0,)), r"^student\.backbone: expected an encoder with teacher\.ensemble"),
        (spec, StudentSpec(static=True), r"^student\.static: expected false with teacher\.ensemble"),
        (spec.ensemble[1], StudentSpec(layers=(0,)), r"^teacher\.weight: expected 1 outside teacher\.ensemble"),
    ):
        with pytest.raises(InputError, match=message):
            Recipe("r", teacher=teacher, student=student)
    with pytest.raises(InputError, match="expected one model"):
        open_teacher(spec, "cpu").token_vectors(3)


def test_files_beside_a_member_make_no_other_ensemble(spec, other):
    before = open_teacher(spec, "cpu")
    (other / "checkpoint-500").mkdir()
    (other / "checkpoint-500" / "config.json").write_text("{}")
    teacher = open_teacher(spec, "cpu")
    found = teacher.fingerprint
    assert found.revision == before.fingerprint.revision
    assert teacher.identity == before.identity
    assert before.identity.earlier is None
    earlier = replace(found, revision=found.earlier_revision, earlier_revision=None)  # of an earlier version
    assert earlier.revision != found.revision
    require_teacher(spec, earlier, "the store")
    found.require_same(earlier.to_dict(), "the store")
    settings = json.dumps(earlier.to_dict(), sort_keys=True)
    assert teacher.identity.has_revision(hashlib.sha256(settings.encode()).hexdigest()[:16])
