"""Every form in which a table holds vectors, written by the libraries that write such tables."""

import base64
import csv
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.teacher.vectors.columns import decode
from leaf_st.teacher.vectors.cursor import Cursor
from leaf_st.teacher.vectors.files import open_vectors
from leaf_st.teacher.vectors.parse import parse
from leaf_st.teacher.vectors.raw import Raw

WIDTH, ROWS = 6, 2600  # more than two blocks
VECTORS = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float16).astype(np.float32)
TEXTS = [f"text {row}" for row in range(ROWS)]


def _fixed(kind):
    return pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.astype(kind).reshape(-1)), WIDTH)


def _variable(kind, list_type=pa.list_):
    return pa.array(list(VECTORS.astype(kind)), list_type(pa.from_numpy_dtype(kind)))


def _coded(row):
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def _pgvector(row):  # the shortest text that gives the float32 number again
    return "[" + ",".join(str(value) for value in row) + "]"


COLUMNS = {
    **{f"fixed-size list of {kind}": _fixed(kind) for kind in ("float16", "float32", "float64")},
    **{f"list of {kind}": _variable(kind) for kind in ("float16", "float32", "float64")},
    "large list": _variable("float32", pa.large_list),
    "binary": pa.array([row.tobytes() for row in VECTORS]),
    "fixed-size binary": pa.array([row.tobytes() for row in VECTORS], pa.binary(4 * WIDTH)),
    "base64": pa.array([_coded(row) for row in VECTORS]),
    "text": pa.array([_pgvector(row) for row in VECTORS]),
}


def _read(source, column="v"):
    return Cursor(open_vectors(TextsSpec(str(source)), column), WIDTH).fetch(np.arange(ROWS))[0]


@pytest.mark.parametrize("form", COLUMNS)
def test_parquet_and_arrow_columns_of_every_form(tmp_path, form):
    table = pa.table({"text": TEXTS, "v": COLUMNS[form]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=1500)
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=1100)
    for name in ("t.parquet", "t.arrow"):
        np.testing.assert_array_equal(_read(tmp_path / name), VECTORS)


@pytest.mark.parametrize(
    ("form", "kind"),
    [("text", pa.string_view()), ("base64", pa.string_view()), ("binary", pa.binary_view())],
)
def test_views_in_arrow_files(tmp_path, form, kind):
    # polars writes texts and bytes in these types.
    table = pa.table({"text": pa.array(TEXTS).cast(pa.string_view()), "v": COLUMNS[form].cast(kind)})
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=1100)
    np.testing.assert_array_equal(_read(tmp_path / "t.arrow"), VECTORS)


def test_fixed_size_lists_of_parquet_that_have_other_sizes_name_the_remedy(tmp_path):
    # Some versions of pyarrow say the same of a missing row. A file states the type of its lists in its metadata.
    stated = pa.schema({"text": pa.string(), "v": pa.list_(pa.float32(), 2)})
    table = pa.table({"text": ["a", "b"], "v": pa.array([[1, 2], [3]], pa.list_(pa.float32()))})
    table = table.replace_schema_metadata({"ARROW:schema": base64.b64encode(stated.serialize())})
    pq.write_table(table, tmp_path / "t.parquet")
    files = open_vectors(TextsSpec(str(tmp_path / "t.parquet")), "v")
    with pytest.raises(InputError, match=r"broken parquet \(.*of size.*\): write the column as lists of variable len"):
        list(files.read(0))


def test_feather_files_and_folders_of_datasets(tmp_path):
    pyarrow.feather.write_feather(pa.table({"text": TEXTS, "v": COLUMNS["list of float32"]}), tmp_path / "t.feather")
    np.testing.assert_array_equal(_read(tmp_path / "t.feather"), VECTORS)
    rows = datasets.Dataset.from_dict({"text": TEXTS, "v": VECTORS})
    rows.save_to_disk(tmp_path / "saved", num_shards=3)
    np.testing.assert_array_equal(_read(tmp_path / "saved"), VECTORS)


def test_rows_of_a_folder_of_parquet_files_follow_the_paths(tmp_path):
    for number, first in enumerate((0, 700, 2000)):
        end = (700, 2000, ROWS)[number]
        part = pa.table({"text": TEXTS[first:end], "v": list(VECTORS[first:end])})
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(part, tmp_path / "data" / f"train-{number:05d}.parquet")
    np.testing.assert_array_equal(_read(tmp_path), VECTORS)


@pytest.mark.parametrize("form", [lambda row: row.tolist(), _coded, _pgvector])
def test_jsonl_of_every_form(tmp_path, form):
    rows = (json.dumps({"text": text, "v": form(row)}) for text, row in zip(TEXTS, VECTORS, strict=True))
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    np.testing.assert_array_equal(_read(tmp_path / "t.jsonl"), VECTORS)


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize("form", [_coded, _pgvector])
def test_csv_and_tsv(tmp_path, ending, delimiter, form):
    with (tmp_path / f"t.{ending}").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["text", "v"])
        writer.writerows((text, form(row)) for text, row in zip(TEXTS, VECTORS, strict=True))
    np.testing.assert_array_equal(_read(tmp_path / f"t.{ending}"), VECTORS)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_array_beside_a_table(tmp_path, kind):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS))
    np.save(tmp_path / "v.npy", VECTORS.astype(kind))
    np.testing.assert_array_equal(_read(tmp_path / "t.txt", str(tmp_path / "v.npy")), VECTORS)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), arrays(np.float32, st.integers(0, 4), elements=st.floats(width=32)))))
def test_arrow_and_python_values_agree_for_any_rows(rows):
    column = pa.array([None if row is None else row.tolist() for row in rows], pa.list_(pa.float32()))
    sliced = pa.concat_arrays([column[:1], column])[min(1, len(column)) :]  # an offset, as in batches of a file
    expected = [parse(None if row is None else row.tolist()) for row in rows]
    for raw in (decode(column), decode(sliced)):
        assert raw.widths.tolist() == [len(row) for row in expected]
        np.testing.assert_array_equal(raw.values, np.concatenate([np.empty(0, np.float32), *expected]))


@given(arrays(np.float32, st.integers(1, 9), elements=st.floats(width=32, allow_nan=False)))
def test_every_coding_of_a_vector_gives_the_vector(vector):
    for coded in (vector.tolist(), vector.tobytes(), _coded(vector), json.dumps(vector.tolist())):
        np.testing.assert_array_equal(parse(coded), vector)


@pytest.mark.parametrize("value", ["", "[0.1, ", "[[1, 2]]", "no vector", "AAA=", b"abc", None, 3, ["a"], {}])
def test_what_is_no_vector_has_no_numbers(value):
    assert len(parse(value)) == 0


def test_rows_in_any_order_and_from_any_start(tmp_path):
    pq.write_table(pa.table({"text": TEXTS, "v": list(VECTORS)}), tmp_path / "t.parquet", row_group_size=300)
    cursor = Cursor(open_vectors(TextsSpec(str(tmp_path / "t.parquet")), "v"), WIDTH)
    for rows in ([2599], [0, 1, 1300], [1299], [1200, 1201, 2598], [5, 5, 5], []):
        np.testing.assert_array_equal(cursor.fetch(np.array(rows, dtype=np.int64))[0], VECTORS[rows])


def test_rows_of_another_width_are_nan():
    class Files:
        paths, rows = [], 3

        def start_of(self, row):
            return 0

        def read(self, start):
            yield Raw(np.array([2, 0, 1]), np.array([1, 2, 3], np.float32))

    vectors, widths = Cursor(Files(), 2).fetch(np.arange(3))
    np.testing.assert_array_equal(vectors, [[1, 2], [np.nan] * 2, [np.nan] * 2])
    assert widths.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            pa.array([[1, 2]]),
            r"^teacher\.vector_column v: expected lists of float16, float32 .* or text, found list",
        ),
        (pa.array([1.5]), "found double"),
    ],
)
def test_columns_of_another_form_are_refused(tmp_path, column, message):
    pq.write_table(pa.table({"text": ["a"], "v": column}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=message):
        open_vectors(TextsSpec(str(tmp_path / "t.parquet")), "v")


def test_missing_columns_files_and_forms_are_named(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "emb": [[1.0]]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"^teacher\.vector_column: expected a column 'v' in .*, found text, emb"):
        open_vectors(TextsSpec(str(tmp_path / "t.parquet")), "v")
    (tmp_path / "t.jsonl").write_text('{"text": "a"}')
    with pytest.raises(InputError, match=r"^teacher\.vector_column: expected a column 'v' in .*, found text: name"):
        next(open_vectors(TextsSpec(str(tmp_path / "t.jsonl")), "v").read(0))
    with pytest.raises(InputError, match=r"found no such file: run the command where the table is"):
        open_vectors(TextsSpec(str(tmp_path / "none.parquet")), "v")
    (tmp_path / "t.txt").write_text("a")
    with pytest.raises(InputError, match=r"found '\.txt': convert the file, or name a \.npy file"):
        open_vectors(TextsSpec(str(tmp_path / "t.txt")), "v")
    np.save(tmp_path / "v.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"expected floating-point numbers of shape \(rows, d\), found float64 of sha"):
        open_vectors(TextsSpec(str(tmp_path / "t.txt")), str(tmp_path / "v.npy"))
    with pytest.raises(InputError, match=r"expected a column or a \.npy file, found v\.npz: save its array with np"):
        open_vectors(TextsSpec(str(tmp_path / "t.txt")), "v.npz")
    np.save(tmp_path / "v.npy", np.array([[0.0], [0.0, 1.0]], dtype=object))
    with pytest.raises(InputError, match=r"v\.npy: cannot be read \(.*objects.*\): name a \.npy file of numbers"):
        open_vectors(TextsSpec(str(tmp_path / "t.txt")), str(tmp_path / "v.npy"))
    (tmp_path / "v.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"v\.npy: cannot be read"):
        open_vectors(TextsSpec(str(tmp_path / "t.txt")), str(tmp_path / "v.npy"))


def test_files_of_another_order_by_number_beside_an_array_are_named(tmp_path, caplog):
    np.save(tmp_path / "v.npy", VECTORS)
    table = tmp_path / "table"
    table.mkdir()
    for name in ("data", "data2", "12ab", "3f2a", "part.2", "part.9"):
        pq.write_table(pa.table({"text": ["cats"]}), table / f"{name}.parquet")
    open_vectors(TextsSpec(str(table)), str(tmp_path / "v.npy"))
    assert not caplog.messages
    pq.write_table(pa.table({"text": ["cats"]}), table / "part.10.parquet")
    open_vectors(TextsSpec(str(table)), str(tmp_path / "v.npy"))
    (message,) = caplog.messages
    assert f"{table}/part.10.parquet is read before {table}/part.2.parquet: row i of the array belongs to" in message
