import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hub import connect, serve
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Router, StaticEmbedding, Transformer
from transformers import dynamic_module_utils

from leaf_st import Fingerprint, Text, evaluate, open_teacher, precompute
from leaf_st.errors import InputError
from leaf_st.models.identity import Identity
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec
from leaf_st.student.asymmetric import load
from leaf_st.student.build import build_student
from leaf_st.student.static import build_static
from leaf_st.teacher.open import _TEACHER_KINDS, kind_of, require_teacher, teacher_spec
from leaf_st.teacher.store import EmbeddingStore

TEXTS = ["a small text", "another one which is longer than that"]
NO_PROMPTS = {"query": "", "document": ""}


def test_each_teacher_is_of_exactly_one_kind():
    api = {"url": "http://127.0.0.1:1/v1", "model": "m"}
    specs = (
        TeacherSpec(),
        TeacherSpec(api=api),
        TeacherSpec(vector_column="v"),
        TeacherSpec(ensemble=[{"model": "a"}, {"api": api}]),
    )
    kinds = [[kind for kind in _TEACHER_KINDS if kind.is_kind_of(spec)] for spec in specs]
    assert [len(found) for found in kinds] == [1] * len(specs)
    assert len({id(found[0]) for found in kinds}) == len(_TEACHER_KINDS)


def test_settings_that_the_teacher_of_a_start_determines_are_refused():
    api = TeacherSpec(api={"url": "http://127.0.0.1:1/v1", "model": "m"})
    ensemble = TeacherSpec(ensemble=[{"model": "a"}, {"model": "b"}])
    for spec, values in ((api, {"max_length": 8}), (ensemble, {"precision": "float32"})):
        with pytest.raises(InputError, match=f"^teacher.{next(iter(values))}: expected no value"):
            kind_of(spec).with_teacher_of_start(TeacherSpec(model="student.start", **values), spec)


@pytest.mark.parametrize("given", [{}, {"vector_column": "v"}])
def test_the_teacher_of_a_start_keeps_its_length(given):
    spec = TeacherSpec(model="us/big", revision="a1", max_length=256, **given)
    for asked, expected in ((None, 256), (64, 64)):
        found = kind_of(spec).with_teacher_of_start(TeacherSpec(model="student.start", max_length=asked), spec)
        assert found == TeacherSpec(model="us/big", revision="a1", max_length=expected)


@pytest.fixture
def prompted(tiny_teacher, tmp_path):
    """Folder of a teacher that has prompts, and whose similarity is the dot product."""
    tiny_teacher.prompts = {"query": "find: ", "document": "a document: "}
    tiny_teacher.similarity_fn_name = "dot"
    save_portable(tiny_teacher, tmp_path / "teacher")
    return tmp_path / "teacher"


def _distilled(folder, spec, student=None):
    """Save a student that records the teacher of ``spec``, and return the student's folder."""
    fingerprint = open_teacher(spec, "cpu").fingerprint
    built = student or build_student(
        spec.model,
        layers=(0, 2),
        dimension=fingerprint.dimension,
        normalized=fingerprint.normalized,
        prompts=fingerprint.prompts,
        similarity_fn_name=fingerprint.similarity_fn_name,
        device="cpu",
    )
    recipe = Recipe(name="own", teacher=spec, student=StudentSpec(layers=(0, 2)))
    record = {"resolved": recipe.to_dict(), "teacher": fingerprint.to_dict(), "commits": {"teacher": None}}
    save_portable(built, folder, record)
    return str(folder)


def test_an_explicit_empty_prompt_holds_after_training(prompted, tiny_teacher, tmp_path):
    spec = TeacherSpec(model=str(prompted), prompts=NO_PROMPTS, precision="float32")
    folder = _distilled(tmp_path / "student", spec)
    student = load_model(folder, device="cpu")
    for teacher in (None, str(prompted)):
        found = teacher_spec(folder, teacher, student.prompts)
        assert found.prompts == NO_PROMPTS
        vectors = open_teacher(found, "cpu").encode_document(TEXTS)
        np.testing.assert_allclose(vectors, tiny_teacher.encode(TEXTS, prompt=""), atol=1e-5)
        pair = load(folder, asymmetric=True, teacher=teacher)
        np.testing.assert_allclose(pair.encode_document(TEXTS), vectors, atol=1e-5)


def test_a_teacher_whose_files_changed_is_not_that_of_the_student(prompted, tmp_path):
    moved = Path(shutil.copytree(prompted, tmp_path / "copy"))
    folder = _distilled(tmp_path / "student", TeacherSpec(model=str(moved), precision="float32"))
    load(folder, asymmetric=True)
    weights = load_file(moved / "model.safetensors")
    save_file({name: value * 1.5 for name, value in weights.items()}, moved / "model.safetensors")
    changed = rf"^teacher {moved}: expected the files that the student {folder} learned from \(revision .*restore the"
    for teacher in (None, str(moved)):
        with pytest.raises(InputError, match=changed):
            load(folder, asymmetric=True, teacher=teacher)
    load(folder, asymmetric=True, teacher=str(prompted))


def test_a_teacher_that_was_moved_is_named_and_keeps_its_settings_in_its_new_folder(prompted, tmp_path, caplog):
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(prompted, old)
    folder = _distilled(tmp_path / "student", TeacherSpec(model=str(old), max_length=14, precision="bfloat16"))
    before = teacher_spec(folder)
    old.rename(new)
    message = (
        rf"^teacher {old}, recorded in {folder}: expected the folder that the student learned from, found no such "
        "folder: move it back, or name its new folder in a command with --teacher"
    )
    for call in (lambda: teacher_spec(folder), lambda: load(folder, asymmetric=True)):
        with pytest.raises(InputError, match=message):
            call()
    assert teacher_spec(folder, str(new)) == replace(before, model=str(new))
    assert "its files are not those" not in caplog.text
    save_file(load_file(new / "model.safetensors"), new / "model.safetensors", {"another": "file"})
    assert teacher_spec(folder, str(new)) == TeacherSpec(str(new), prompts=before.prompts, precision="float32")
    assert f"teacher {new}: its files are not those of {old}, from which the student learned" in caplog.text


def test_a_student_without_a_record_leaves_the_teacher_its_prompts(prompted, tiny_student, tmp_path):
    save_portable(tiny_student, tmp_path / "student")
    spec = teacher_spec(str(tmp_path / "student"), str(prompted), tiny_student.prompts)
    assert open_teacher(spec, "cpu").prompts["document"] == "a document: "


def test_a_model_in_memory_has_no_record_of_the_current_folder(prompted, tiny_student, beir, tmp_path, monkeypatch):
    asked = TeacherSpec(model=str(prompted), prompts={"query": "other: "}, max_length=14)
    folder = _distilled(tmp_path / "student", asked)
    found = []
    for place in (tmp_path, folder):
        monkeypatch.chdir(place)
        spec = teacher_spec(None, str(prompted), {"query": "own: ", "document": ""})
        assert spec == TeacherSpec(model=str(prompted), prompts={"query": "own: "}, precision="float32")
        found += evaluate(tiny_student, beir, teacher=str(prompted), modes="teacher")
    assert found[0].teacher_revision == found[1].teacher_revision


def test_the_recorded_length_and_precision_hold_in_evaluation(prompted, tmp_path):
    asked = TeacherSpec(model=str(prompted), max_length=14, precision="bfloat16")
    folder = _distilled(tmp_path / "student", asked)
    trained, found = open_teacher(asked, "cpu"), open_teacher(teacher_spec(folder), "cpu")
    assert found.fingerprint == trained.fingerprint
    assert (found.fingerprint.max_length, found.fingerprint.precision) == (14, "bfloat16")
    np.testing.assert_array_equal(found.encode_query(TEXTS), trained.encode_query(TEXTS))
    document = load(folder, asymmetric=True)[0].sub_modules["document"][0]
    assert document.max_seq_length == 14


def test_the_similarity_of_the_teacher_stays(prompted, tmp_path):
    spec = TeacherSpec(model=str(prompted), precision="float32")
    assert open_teacher(spec, "cpu").fingerprint.similarity_fn_name == "dot"
    folder = _distilled(tmp_path / "student", spec)
    config = json.loads((tmp_path / "student" / "config_sentence_transformers.json").read_text())
    assert config["similarity_fn_name"] == "dot"
    assert load_model(folder).similarity_fn_name == load(folder, asymmetric=True).similarity_fn_name == "dot"
    save_portable(load(folder, asymmetric=True), tmp_path / "pair")
    assert load_model(tmp_path / "pair").similarity_fn_name == "dot"
    table = build_static(prompted, dimension=32, normalized=True, similarity_fn_name="dot", device="cpu")
    _distilled(tmp_path / "table", spec, table)
    assert load_model(tmp_path / "table").similarity_fn_name == "dot"


def test_a_store_of_another_similarity_is_refused_and_an_early_store_opens(prompted, tmp_path):
    teacher = open_teacher(TeacherSpec(model=str(prompted), precision="float32"), "cpu")
    store = precompute([Text(text, "query") for text in TEXTS], teacher, tmp_path / "store")
    EmbeddingStore(store.folder, teacher.fingerprint)
    with pytest.raises(InputError, match="expected similarity_fn_name cosine, found dot"):
        EmbeddingStore(store.folder, replace(teacher.fingerprint, similarity_fn_name="cosine"))
    path = store.folder / "fingerprint.json"
    header = json.loads(path.read_text())
    del header["fingerprint"]["similarity_fn_name"], header["checksum"]
    path.write_text(json.dumps(header))
    assert EmbeddingStore(store.folder, teacher.fingerprint).fingerprint.similarity_fn_name is None


class LetterTeacher:
    """A `Teacher` of a user's own: counts of letters, moved by the kind of the text."""

    dimension = 32
    prompts = NO_PROMPTS
    similarity_fn_name = "dot"
    parameters = None
    identity = Identity("us/letters", "1")
    fingerprint = Fingerprint(
        teacher="us/letters",
        revision="1",
        prompts=NO_PROMPTS,
        max_length=None,
        pooling="unknown",
        precision="float32",
        normalized=False,
        dimension=32,
        similarity_fn_name="dot",
    )

    def encode_query(self, texts):
        return self.encode(texts) + 1

    def encode_document(self, texts):
        return self.encode(texts)

    def encode(self, texts, prompt=None):
        counts = [np.bincount([ord(letter) % 32 for letter in text], minlength=32) for text in texts]
        return np.array(counts, dtype=np.float32).reshape(len(texts), 32)

    def similarity(self, queries, documents):
        return torch.as_tensor(queries) @ torch.as_tensor(documents).T

    def similarity_pairwise(self, queries, documents):
        return (torch.as_tensor(queries) * torch.as_tensor(documents)).sum(dim=1)


def test_a_teacher_of_a_user_s_own_embeds_and_is_evaluated(tiny_student, tmp_path):
    teacher = LetterTeacher()
    store = precompute([Text(TEXTS[0], "query"), Text(TEXTS[1], "document")], teacher, tmp_path / "store")
    np.testing.assert_array_equal(store.embeddings([0])[0], teacher.encode_query(TEXTS[:1])[0])
    np.testing.assert_array_equal(store.embeddings([1])[0], teacher.encode_document(TEXTS[1:])[0])
    folder = tmp_path / "letters"
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": str(number), "title": "", "text": letter * 8} for number, letter in enumerate("abcd")]
    queries = [{"_id": f"q{number}", "text": letter * 3} for number, letter in enumerate("abcd")]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    qrels = "".join(f"q{number}\t{number}\t1\n" for number in range(4))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    rows = evaluate(tiny_student, folder, teacher=teacher)
    assert [row.mode for row in rows] == ["teacher", "standard", "asymmetric"]
    assert rows[0].score == pytest.approx(100)
    assert rows[0].model == "us/letters"


_CODE = """
import transformers

class BertModel(transformers.BertModel):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.last_hidden_state = -output.last_hidden_state
        return output
"""


@pytest.fixture
def with_code(prompted):
    """Folder of a teacher whose own code has a class with a name of transformers."""
    (prompted / "modeling.py").write_text(_CODE)
    config = json.loads((prompted / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling.BertModel"}
    (prompted / "config.json").write_text(json.dumps(config))
    return prompted


def test_the_recorded_files_of_a_teacher_with_own_code_are_known_again(with_code, tiny_student, tmp_path):
    spec = TeacherSpec(str(with_code), precision="float32", trust_remote_code=True)
    student = _distilled(tmp_path / "student", spec, tiny_student)
    assert not teacher_spec(student).trust_remote_code
    (with_code / "modeling.py").write_text(_CODE.replace("-output", "output"))
    with pytest.raises(InputError, match=r"expected the files that the student .* learned from .* found others"):
        teacher_spec(student)


@pytest.fixture
def cache_of_modules(tmp_path, monkeypatch):
    """An empty cache of the code that transformers runs."""
    (tmp_path / "modules").mkdir()
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    for name in _modules_of_transformers():
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in _modules_of_transformers():
        del sys.modules[name]


def _modules_of_transformers():
    return [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]


@pytest.mark.usefixtures("cache_of_modules")
def test_code_of_another_repository_is_a_part_of_the_teacher_and_stays(prompted, tmp_path, monkeypatch):
    code, config = tmp_path / "code", json.loads((prompted / "config.json").read_text())
    code.mkdir()
    (code / "modeling.py").write_text("from .sign import SIGN\n" + _CODE.replace("= -output", "= SIGN * output"))
    (code / "sign.py").write_text("SIGN = -1\n")
    config["auto_map"] = {"AutoModel": "us/code--modeling.BertModel"}
    (prompted / "config.json").write_text(json.dumps(config))
    spec = TeacherSpec(str(prompted), precision="float32", trust_remote_code=True)
    with serve({"us/code": code}) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        first = open_teacher(spec, "cpu")
        (code / "sign.py").write_text("SIGN = 1\n")
        hub.newest = "f" * 40
        same = open_teacher(spec, "cpu")
        np.testing.assert_array_equal(same.encode_query(TEXTS), first.encode_query(TEXTS))
        assert same.fingerprint == first.fingerprint
        require_teacher(spec, first.fingerprint, "the store")
        shutil.rmtree(tmp_path / "home")  # another machine
        require_teacher(spec, first.fingerprint, "the store")  # nothing is known of the code here
        other = open_teacher(spec, "cpu")
    np.testing.assert_allclose(other.encode_query(TEXTS), -first.encode_query(TEXTS), atol=1e-5)
    with pytest.raises(InputError, match="the store was made by another teacher: expected revision"):
        require_teacher(spec, first.fingerprint, "the store")
    of_earlier_version = replace(first.fingerprint, revision=first.fingerprint.earlier_revision, earlier_revision=None)
    require_teacher(spec, of_earlier_version, "the store")


def test_files_beside_the_model_make_no_other_teacher(prompted, tmp_path):
    rows = [Text(text, "query") for text in TEXTS]
    spec = TeacherSpec(str(prompted), precision="float32")
    before = open_teacher(spec, "cpu").fingerprint
    shutil.copytree(prompted, tmp_path / "checkpoint")
    shutil.move(tmp_path / "checkpoint", prompted / "checkpoint-500")
    teacher = open_teacher(spec, "cpu")
    assert before.revision == teacher.fingerprint.revision
    store = precompute(rows, teacher, tmp_path / "store")
    early = Path(shutil.copytree(store.folder, tmp_path / "early"))
    header = json.loads((early / "fingerprint.json").read_text())
    header["fingerprint"]["revision"] = header["fingerprint"].pop("earlier_revision")  # as an earlier version wrote it
    del header["checksum"]
    (early / "fingerprint.json").write_text(json.dumps(header))
    for folder in (store.folder, early):
        precompute(rows, open_teacher(spec, "cpu"), folder)
        require_teacher(spec, EmbeddingStore(folder).fingerprint, "the store")
    assert EmbeddingStore(early).fingerprint.has_files_of(store.fingerprint)
    shutil.rmtree(prompted / "checkpoint-500")
    precompute(rows, open_teacher(spec, "cpu"), store.folder)
    require_teacher(spec, EmbeddingStore(store.folder).fingerprint, "the store")


def test_a_router_with_a_static_route_has_the_length_that_is_set(tiny_teacher_folder, tmp_path):
    transformer = Transformer(str(tiny_teacher_folder))
    static = StaticEmbedding(transformer.tokenizer.backend_tokenizer, embedding_dim=32)
    router = Router.for_query_document([static], [transformer, Pooling(32, "mean")])
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path))
    spec = TeacherSpec(str(tmp_path), precision="float32", max_length=8)
    teacher = open_teacher(spec, "cpu")
    require_teacher(spec, teacher.fingerprint, "the store")
    long = "one two three four five six seven eight nine ten"
    shorter = " ".join(long.split()[:8])
    np.testing.assert_array_equal(teacher.encode_document([long]), teacher.encode_document([shorter]))


def test_a_changed_file_of_the_teacher_is_named_as_a_reason(prompted):
    spec = TeacherSpec(str(prompted), precision="float32")
    before = open_teacher(spec, "cpu").fingerprint
    config = prompted / "config_sentence_transformers.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(InputError, match=r"restore the teacher's earlier files \(each changed file counts\), name"):
        require_teacher(spec, before, "the store")
