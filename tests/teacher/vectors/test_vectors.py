import base64
import copy
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.errors import InputError
from leaf_st.recipe import TeacherSpec, TextsSpec
from leaf_st.teacher.open import open_teacher, open_teacher_model, require_teacher, usable_texts
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import NoVectorError
from leaf_st.teacher.store import STORE_MANIFEST, EmbeddingStore
from leaf_st.teacher.vectors.records import Records
from leaf_st.texts.read import read_texts
from leaf_st.zoo import ARCTIC, MINILM

WIDTH = 8


def _unit(rows, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _write(path, texts, vectors, **columns):
    pq.write_table(pa.table({"text": texts, "v": list(vectors), **columns}), path, row_group_size=1000)
    return path


def _spec(path, **changes):
    return TeacherSpec(**{"model": "owner/api", "vector_column": "v", "table": TextsSpec(str(path)), **changes})


def _store(spec, folder, **options):
    teacher, skipped = open_teacher(spec), Counter()
    texts = usable_texts(teacher, read_texts(spec.table, skipped, prompts=teacher.prompts), skipped)
    return precompute(texts, teacher, folder, dtype="float32", skipped=skipped, **options)


@pytest.fixture
def table(tmp_path):
    return _write(tmp_path / "t.parquet", [f"text {row}" for row in range(3000)], _unit(3000))


def test_texts_of_the_table_have_their_vectors_in_any_order(table):
    teacher, vectors = open_teacher(_spec(table)), _unit(3000)
    for rows in (range(10), [2999, 0, 1500, 0], random.Random(0).sample(range(3000), 2000), []):
        texts = [f"text {row}" for row in rows]
        for encode in (teacher.encode_document, teacher.encode_query, teacher.encode):
            np.testing.assert_array_equal(encode(texts), vectors[list(rows)])
    assert (teacher.dimension, teacher.fingerprint.normalized, teacher.parameters) == (WIDTH, True, None)
    assert teacher.identity.name == "owner/api"
    np.testing.assert_allclose(teacher.similarity(vectors[:2], vectors[:3]), vectors[:2] @ vectors[:3].T, atol=1e-6)


def test_a_copy_for_another_process_is_opened_from_the_table(table):
    teacher, texts = open_teacher(_spec(table)), ["text 2999", "text 7"]
    expected = teacher.encode_document(texts)
    np.testing.assert_array_equal(copy.deepcopy(teacher).encode_query(texts), expected)
    code = (
        "import pickle, sys\n"
        f"vectors = pickle.load(sys.stdin.buffer).encode_document({texts})\n"
        "sys.stdout.buffer.write(vectors.tobytes())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(teacher),
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert found.stdout == expected.tobytes()


def test_the_store_has_all_rows_in_order(table, tmp_path):
    store = _store(_spec(table), tmp_path / "store")
    assert store.skipped == {}
    np.testing.assert_array_equal(store.embeddings(range(3000)), _unit(3000))
    assert [row.text for row in store.texts([0, 2999])] == ["text 0", "text 2999"]


def test_rows_without_a_usable_vector_are_left_out_counted_and_named(tmp_path):
    texts, vectors = [f"text {row}" for row in range(3000)], list(_unit(3000))
    vectors[5] = vectors[1007] = np.zeros(WIDTH, np.float32)
    vectors[6] = np.full(WIDTH, np.nan, np.float32)
    vectors[2500] = np.array([np.inf, *vectors[7][1:]], np.float32)
    vectors[8] = vectors[8][:-1]
    vectors[9] = None
    vectors[10] = 3 * vectors[10]
    texts += ["text 11", "text 12", "text 13"]  # with the same vector, almost the same, and another one
    vectors += [vectors[11], vectors[12] + np.float32(1e-4), vectors[14]]
    store = _store(_spec(_write(tmp_path / "t.parquet", texts, vectors)), tmp_path / "store")
    assert store.skipped == {
        "duplicate": 3,
        "zero vector (first: 'text 5')": 2,
        "vector with NaN, infinite or too large numbers (first: 'text 6')": 2,
        "vector of another width (first: 'text 8')": 1,
        "without a vector (first: 'text 9')": 1,
        "vector of a norm other than 1 (first: 'text 10')": 1,
        "repeated text with different vectors (first: 'text 13')": 1,
    }
    left_out = {5, 1007, 6, 2500, 8, 9, 10, 13}
    kept = [row for row in range(3000) if row not in left_out]
    assert [row.text for row in store.texts(range(len(store)))] == [texts[row] for row in kept]
    np.testing.assert_array_equal(store.embeddings(range(len(store))), np.stack([vectors[row] for row in kept]))


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (np.zeros(WIDTH), "zero vector"),
        (np.full(WIDTH, np.nan), "vector with NaN, infinite or too large numbers"),
        (np.full(WIDTH, 1e39), "vector with NaN, infinite or too large numbers"),  # more than float32 holds
        (np.ones(WIDTH + 1), "vector of another width"),
        (np.ones(0), "without a vector"),
        (np.ones(WIDTH), "vector of a norm other than 1"),
    ],
)
def test_each_flaw_is_counted_and_named_in_every_form(tmp_path, vector, reason):
    texts = [f"text {row}" for row in range(10)]
    rows = [row.tolist() for row in _unit(10)]
    rows[3] = rows[7] = vector.tolist()
    _write(tmp_path / "t.parquet", texts, rows)
    lines = (json.dumps({"text": text, "v": row}) for text, row in zip(texts, rows, strict=True))
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    for number, name in enumerate(("t.parquet", "t.jsonl")):
        store = _store(_spec(tmp_path / name), tmp_path / f"store {number}")
        assert store.skipped == {f"{reason} (first: 'text 3')": 2}
        assert len(store) == 8


def test_repeated_texts_with_different_vectors_are_counted_and_named(tmp_path):
    texts, vectors = ["a", "b", "b", "c", "c"], _unit(5)
    vectors[4] = vectors[3]
    store = _store(_spec(_write(tmp_path / "t.parquet", texts, vectors)), tmp_path / "store")
    assert store.skipped == {"duplicate": 2, "repeated text with different vectors (first: 'b')": 1}
    assert [row.text for row in store.texts([0, 1])] == ["a", "c"]


BAD = np.full(WIDTH, np.nan, np.float32)


def test_the_first_usable_vector_of_a_repeated_text_counts(tmp_path):
    vectors = _unit(8)
    rows = [
        *(("a", None), ("b", vectors[1]), ("c", BAD), ("d", vectors[3])),
        *(("a", vectors[0]), ("b", None), ("c", vectors[2]), ("d", 3 * vectors[3])),
        *(("e", None), ("a", vectors[0]), ("e", BAD), ("f", None), ("f", vectors[5]), ("f", vectors[6]), ("g", BAD)),
        *(("c", vectors[2][:-1]), ("g", None), ("h", vectors[7])),
    ]
    texts, given = zip(*rows, strict=True)
    _write(tmp_path / "t.parquet", list(texts), list(given))
    lines = (json.dumps({"text": text, "v": None if v is None else v.tolist()}) for text, v in rows)
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    for number, name in enumerate(("t.parquet", "t.jsonl")):
        store = _store(_spec(tmp_path / name), tmp_path / f"store {number}")
        assert [row.text for row in store.texts(range(5))] == ["a", "b", "c", "d", "h"]
        np.testing.assert_array_equal(store.embeddings(range(5)), vectors[[0, 1, 2, 3, 7]])
        assert store.skipped == {
            "duplicate": 10,
            "without a vector (first: 'e')": 1,
            "repeated text with different vectors (first: 'f')": 1,
            "vector with NaN, infinite or too large numbers (first: 'g')": 1,
        }


@pytest.mark.parametrize("rows_per_shard", [64, 512])
def test_a_jsonl_file_is_not_read_again_for_each_shard(tmp_path, monkeypatch, rows_per_shard):
    for name in ("records.BATCH_ROWS", "teacher.BATCH_ROWS", "recent._ROWS"):
        monkeypatch.setattr(f"leaf_st.teacher.vectors.{name}", 32)
    starts, read = [], Records.read
    monkeypatch.setattr(Records, "read", lambda self, start: starts.append(start) or read(self, start))
    vectors = _unit(3000)
    texts = [(f"text {row}", ("query", "document")[row % 3 // 2]) for row in range(3000)]
    rows = [(text, kind, vector.tolist()) for (text, kind), vector in zip(texts, vectors, strict=True)]
    for place in range(20):  # a later row has the vector
        rows.append((*rows[40 * place][:2], rows[40 * place][2]))
        rows[40 * place] = (*rows[40 * place][:2], None)
    lines = (json.dumps(dict(zip(("text", "kind", "v"), row, strict=True))) for row in rows)
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    spec = _spec(tmp_path / "t.jsonl", prompts={"query": "q: "})
    store = _store(spec, tmp_path / "store", rows_per_shard=rows_per_shard)
    np.testing.assert_array_equal(store.embeddings(range(3000)), vectors)
    # Two for the width, one for repeated texts, and at most two for each of: the check, the queries and the documents.
    assert len(starts) <= 9


def test_files_without_rows_and_files_without_vectors_are_parts_of_a_table(tmp_path):
    texts, vectors = [f"text {row}" for row in range(20)], list(_unit(20))
    folder = tmp_path / "table"
    folder.mkdir()
    pq.write_table(pa.table({}), folder / "0.parquet")  # as Dask writes an empty piece
    pq.write_table(pa.table({"text": pa.nulls(0), "v": pa.nulls(0)}), folder / "1.parquet")  # as pandas does
    _write(folder / "2.parquet", texts[:10], vectors[:10])
    pq.write_table(pa.table({"text": ["new", "newer"], "v": pa.nulls(2)}), folder / "3.parquet")
    _write(folder / "4.parquet", texts[10:], vectors[10:])
    store = _store(_spec(folder), tmp_path / "store")
    assert store.skipped == {"without a vector (first: 'new')": 2}
    assert [row.text for row in store.texts(range(20))] == texts
    np.testing.assert_array_equal(store.embeddings(range(20)), vectors)


def test_vectors_of_any_norm_are_kept_as_they_are(tmp_path):
    vectors = _unit(20) * np.linspace(0.1, 30, 20, dtype=np.float32)[:, None]
    store = _store(_spec(_write(tmp_path / "t.parquet", [f"text {row}" for row in range(20)], vectors)), tmp_path / "s")
    assert not store.fingerprint.normalized
    np.testing.assert_array_equal(store.embeddings(range(20)), vectors)


def test_rounded_vectors_of_norm_1_get_norm_1_again(tmp_path):
    rounded = (_unit(20) * np.float32(1.004)).astype(np.float16)
    teacher = open_teacher(_spec(_write(tmp_path / "t.parquet", [f"text {row}" for row in range(20)], rounded)))
    vectors = teacher.encode_document([f"text {row}" for row in range(20)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_text_is_found_with_the_prompt_of_its_kind(tmp_path):
    vectors = _unit(3)
    path = _write(tmp_path / "t.parquet", ["a", "a", "b"], vectors, kind=["query", "document", None])
    teacher = open_teacher(_spec(path, prompts={"query": "q: "}))
    np.testing.assert_array_equal(teacher.encode_query(["a"]), vectors[:1])
    np.testing.assert_array_equal(teacher.encode_document([" a ", "b"]), vectors[1:])
    with pytest.raises(NoVectorError, match="no vector of the query 'q: b'"):
        teacher.encode_query(["a", "b"])
    one_space = open_teacher(_spec(path))  # without prompts, the two rows of "a" have one name and two vectors
    with pytest.raises(NoVectorError, match="'a', found repeated text with different vectors: repair the table"):
        one_space.encode_query(["a"])


def test_texts_that_are_not_in_the_table_are_named_with_the_possible_modes(table):
    with pytest.raises(NoVectorError, match=r"'new': standard mode needs no vectors, asymmetric mode the documents'"):
        open_teacher(_spec(table)).encode_document(["text 1", "new"])


def test_an_array_needs_a_vector_for_each_row_of_the_table(table, tmp_path):
    np.save(tmp_path / "v.npy", _unit(2999))
    teacher = open_teacher(_spec(table, vector_column=str(tmp_path / "v.npy")))
    with pytest.raises(InputError, match=r"expected 3,000 vectors, one for each row of .*, found 2,999"):
        teacher.encode_document(["text 1"])


def test_lines_that_are_no_rows_are_named_if_an_array_has_a_vector_for_each_line(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\nno row\n{"text": "b"}\n')
    np.save(tmp_path / "v.npy", _unit(3))
    teacher = open_teacher(_spec(tmp_path / "t.jsonl", vector_column=str(tmp_path / "v.npy")))
    with pytest.raises(
        InputError,
        match=r"expected 2 vectors, one for each row of .* \(left out: 1 not a JSON object\), found 3: correct what is "
        "left out, or name the vectors of this table",
    ):
        teacher.encode_document(["a"])


@pytest.mark.parametrize("form", [bytes, lambda content: base64.b64encode(content).decode()])
def test_float16_numbers_in_place_of_float32_are_refused(tmp_path, form):
    vectors = np.random.default_rng(0).normal(size=(20, 256))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2")
    rows = [form(vector.tobytes()) for vector in vectors]
    path = _write(tmp_path / "t.parquet", [f"text {row}" for row in range(20)], rows)
    with pytest.raises(InputError, match=r"found a median norm of \de-\d\d in .*: write binary and base64 vectors as"):
        open_teacher(_spec(path))


def test_first_rows_without_vectors_are_refused(tmp_path):
    path = _write(tmp_path / "t.parquet", ["a", "b"], ["no vector", "none"])
    with pytest.raises(InputError, match=r"expected vectors in the first 1,024 rows of .*, found none: name a column"):
        open_teacher(_spec(path))


def test_a_store_knows_its_vectors(table, tmp_path):
    spec, store = _spec(table), _store(_spec(table), tmp_path / "store")
    require_teacher(spec, store.fingerprint, "store")
    other = _spec(_write(tmp_path / "o.parquet", [f"text {row}" for row in range(3000)], _unit(3000, seed=1)))
    with pytest.raises(InputError, match="was made by another teacher: expected revision"):
        require_teacher(other, store.fingerprint, "store")
    with pytest.raises(InputError, match="was made by another teacher: expected revision"):
        _store(other, tmp_path / "store")
    with pytest.raises(InputError, match="was made by another teacher: expected prompts"):
        require_teacher(_spec(table, prompts={"query": "q: "}), store.fingerprint, "store")


@pytest.mark.parametrize("lost", ["t.parquet", "v.npy"])
def test_a_store_needs_no_table(table, tmp_path, lost):
    np.save(tmp_path / "v.npy", _unit(3000))
    spec = _spec(table, vector_column=str(tmp_path / "v.npy"))
    store = _store(spec, tmp_path / "store")
    (tmp_path / lost).unlink()
    require_teacher(spec, store.fingerprint, "store")
    with pytest.raises(InputError, match="was made by another teacher: expected prompts"):
        require_teacher(replace(spec, prompts={"query": "q: "}), store.fingerprint, "store")
    for changes in ({"revision": "1"}, {"teacher": "us/other"}):
        with pytest.raises(InputError, match=r"another teacher: expected teacher .* \(given vectors\), found "):
            require_teacher(spec, replace(store.fingerprint, **changes), "store")


def test_what_needs_the_model_is_refused(table):
    with pytest.raises(InputError, match="expected a model, found vectors in"):
        open_teacher_model(_spec(table))
    with pytest.raises(InputError, match="not of tokens"):
        open_teacher(_spec(table)).token_vectors(3)
    with pytest.raises(InputError, match=r"teacher\.table: expected the table"):
        open_teacher(TeacherSpec(vector_column="v"))


def test_the_width_is_one_that_the_named_model_gives(tmp_path):
    def width_of(width, **names):
        table = _write(tmp_path / f"{width}.parquet", ["a", "b"], np.eye(2, width, dtype=np.float32))
        teacher = open_teacher(_spec(table, **names))
        teacher.require_known_width()
        return teacher.dimension

    problem = (
        f"^teacher.model: expected the name of .* vectors of 1,536 dimensions, found {MINILM}, which gives 384: set"
        ".*, or to a name of your own"
    )
    with pytest.raises(InputError, match=problem):
        width_of(1536, model=MINILM)
    assert width_of(1536, model="mine") == 1536
    assert width_of(384, model=MINILM) == 384
    assert width_of(256, model=ARCTIC.hub_id) == 256  # the model's vectors may be cut


_PROGRAM = """
import sys, time
from pathlib import Path
import test_vectors
from leaf_st.teacher.vectors.cursor import Cursor
read = Cursor.fetch
def slow(self, rows):
    time.sleep(float(sys.argv[3]))
    return read(self, rows)
Cursor.fetch = slow
test_vectors._store(test_vectors._spec(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_a_killed_process_resumes_and_ends_with_the_same_bytes(tmp_path):
    table = _write(tmp_path / "t.parquet", [f"text {row}" for row in range(9000)], _unit(9000))
    _store(_spec(table), tmp_path / "whole")

    def start(seconds):
        command = [sys.executable, "-c", _PROGRAM, str(table), str(tmp_path / "store"), str(seconds)]
        return subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)

    process = start(0.3)
    while not list((tmp_path / "store").glob("shard-*")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.4)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    made = {path.name for path in (tmp_path / "store").glob("shard-*")}
    assert 0 < len(made) < 9
    assert not (tmp_path / "store" / STORE_MANIFEST).exists()
    process = start(0)
    assert process.wait() == 0
    whole, resumed = (json.loads((tmp_path / name / STORE_MANIFEST).read_text()) for name in ("whole", "store"))
    assert resumed == whole
    assert EmbeddingStore(tmp_path / "store").damaged() == []
