"""Exports of vector databases, in the column types that the databases' own clients write.

The types were read from files that LanceDB 0.40, qdrant-client 1.20 (scroll to pandas and to pyarrow) and Postgres 16
with pgvector wrote. Cohere's dumps are tested in tests/hub/test_dataset_files.py too.
"""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from leaf_st.recipe import TeacherSpec, TextsSpec
from leaf_st.teacher.open import open_teacher

ROWS, WIDTH = 1500, 8
TEXTS = [f'text {row}, with "quotes"\nand lines' for row in range(ROWS)]
VECTORS = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


def _read(path, column):
    spec = TeacherSpec("owner/api", vector_column=column, table=TextsSpec(str(path)))
    return open_teacher(spec).encode_document(TEXTS)


def _lance_table():
    """Return what ``table.to_arrow()`` of LanceDB returns."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.reshape(-1)), WIDTH)
    return pa.table({"text": pa.array(TEXTS, pa.string()), "vector": vectors})


def _scrolled():
    """Return points of Qdrant as its client returns them: a vector is a list of Python floats."""
    return [
        {"id": row, "text": text, "lang": "en", "vector": vector}
        for row, (text, vector) in enumerate(zip(TEXTS, VECTORS.tolist(), strict=True))
    ]


def test_lancedb_to_parquet_feather_and_arrow(tmp_path):
    table = _lance_table()
    pq.write_table(table, tmp_path / "docs.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "docs.feather")
    with pa.ipc.new_file(tmp_path / "docs.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("docs.parquet", "docs.feather", "docs.arrow"):
        np.testing.assert_array_equal(_read(tmp_path / name, "vector"), VECTORS)


def test_lancedb_to_pandas_to_parquet(tmp_path):
    columns = {"text": pa.array(TEXTS, pa.large_string()), "vector": pa.array(list(VECTORS), pa.list_(pa.float32()))}
    pq.write_table(pa.table(columns), tmp_path / "docs.parquet")
    np.testing.assert_array_equal(_read(tmp_path / "docs.parquet", "vector"), VECTORS)


@pytest.mark.parametrize("texts", [pa.string(), pa.large_string()])  # pyarrow and pandas
def test_qdrant_scroll_to_parquet(tmp_path, texts):
    fields = [("id", pa.int64()), ("text", texts), ("lang", texts), ("vector", pa.list_(pa.float64()))]
    pq.write_table(pa.Table.from_pylist(_scrolled(), pa.schema(fields)), tmp_path / "docs.parquet")
    np.testing.assert_array_equal(_read(tmp_path / "docs.parquet", "vector"), VECTORS)


def test_qdrant_scroll_to_jsonl(tmp_path):
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(point) + "\n" for point in _scrolled()))
    np.testing.assert_array_equal(_read(tmp_path / "docs.jsonl", "vector"), VECTORS)


def test_pgvector_copy_to_csv(tmp_path):
    with (tmp_path / "docs.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "embedding"])
        # Postgres prints the shortest number that gives the float32 number again.
        rows = ("[" + ",".join(map(str, vector)) + "]" for vector in VECTORS)
        writer.writerows(zip(TEXTS, rows, strict=True))
        writer.writerow(["a text without a vector", ""])  # NULL
    np.testing.assert_array_equal(_read(tmp_path / "docs.csv", "embedding"), VECTORS)


def test_cohere_s_dumps(tmp_path):
    for number, rows in enumerate((slice(0, 1000), slice(1000, ROWS))):
        table = pa.table(
            {
                **{name: TEXTS[rows] for name in ("_id", "url", "title", "text")},
                "emb": pa.array(list(VECTORS[rows]), pa.list_(pa.float32())),
            }
        )
        (tmp_path / "en").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "en" / f"{number:04}.parquet")
    np.testing.assert_array_equal(_read(tmp_path / "en", "emb"), VECTORS)
