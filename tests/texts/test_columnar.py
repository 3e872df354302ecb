"""Pieces of columnar files: their rows, in any order and in bounded memory."""

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from leaf_st.texts.columnar import BATCH_ROWS, open_pieces

MEGABYTE = 1 << 20


@pytest.fixture
def pool():
    """Counts the memory that pyarrow takes in the test."""
    before = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(before)
    pa.set_memory_pool(counting)
    yield counting
    pa.set_memory_pool(before)


def _long(rows, size):
    """Return a table whose rows all have the same text of ``size`` characters, stored once."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * size]))
    return pa.table({"text": texts, "kind": ["query"] * rows})


def _write_parquet(table, path):
    pq.write_table(table, path, compression="zstd")


def _write_parquet_of_strings(table, path):
    pq.write_table(table, path, compression="zstd", store_schema=False)


def _write_feather(table, path):
    feather.write_feather(table, path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.parquet", _write_parquet), ("a.parquet", _write_parquet_of_strings), ("a.feather", _write_feather)],
)
@pytest.mark.parametrize(("rows", "size"), [(48, 4 * MEGABYTE), (1200, MEGABYTE // 4)])
def test_a_small_file_of_long_texts_needs_little_memory(tmp_path, pool, name, write, rows, size):
    write(_long(rows, size), tmp_path / name)
    assert (tmp_path / name).stat().st_size < 6 * MEGABYTE
    file = open_pieces(tmp_path / name)
    lengths = [
        len(text)
        for piece in range(len(file.sizes))
        for batch in file.batches(piece, ["text", "kind"])
        for text in batch.column("text").to_pylist()
    ]
    assert lengths == [size] * rows
    assert pool.max_memory() < 150 * MEGABYTE


def test_short_rows_come_in_large_batches(tmp_path):
    pq.write_table(pa.table({"text": [f"text {row}" for row in range(2500)]}), tmp_path / "a.parquet")
    batches = list(open_pieces(tmp_path / "a.parquet").batches(0, ["text"]))
    assert [len(batch) for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 452]
    assert batches[1].column("text")[0].as_py() == f"text {BATCH_ROWS}"


@pytest.mark.parametrize("open_writer", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("compression", [None, "lz4"])
def test_record_batches_are_read_in_any_order(tmp_path, open_writer, compression):
    path = tmp_path / "a.arrow"
    table = pa.table({"row": range(40), "text": [f"text {row}" for row in range(40)]})
    with open_writer(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=10)
    file = open_pieces(path)
    assert file.sizes == [10, 10, 10, 10]
    for piece in (2, 0, 3, 3, 1):
        (batch,) = file.batches(piece, ["text"])
        assert batch.to_pydict() == {"text": [f"text {row}" for row in range(10 * piece, 10 * piece + 10)]}


def test_joined_streams_are_no_stream(tmp_path):
    path, table = tmp_path / "a.arrow", pa.table({"text": ["a", "b"]})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    assert open_pieces(path).sizes == [2]
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(pa.ArrowInvalid, match="found several in the file: write each to a file of its own"):
        open_pieces(path)
