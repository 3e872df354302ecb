"""Estimates of the number of texts, made while a source is read once."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.recipe import TextsSpec
from leaf_st.texts.progress import ReadProgress
from leaf_st.texts.read import read_texts

ROWS = [{"text": f"text {number} " + "word " * (20 + number % 7), "kind": "document"} for number in range(20_000)]


def _write(folder, ending):
    path = folder / f"texts.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif ending == "csv":
        path.write_text("text,kind\n" + "".join(f"{row['text']},{row['kind']}\n" for row in ROWS))
    else:
        path.write_text("".join(row["text"] + "\n" for row in ROWS))
    return str(path)


def _estimates(spec, **others):
    """Return the estimate after each text."""
    progress = ReadProgress()
    texts = read_texts(spec, Counter(), progress=progress, **others)
    return [progress.expected_texts(number) for number, _ in enumerate(texts, start=1)]


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv", "txt"])
def test_the_estimate_is_near_after_one_block_and_exact_at_the_end(tmp_path, ending):
    estimates = _estimates(TextsSpec(source=_write(tmp_path, ending)))
    assert estimates[1023] == pytest.approx(len(ROWS), rel=0.15)
    assert estimates[-1] == len(ROWS)


def test_the_footer_of_parquet_gives_the_rows_before_any_is_read(tmp_path):
    assert _estimates(TextsSpec(source=_write(tmp_path, "parquet")))[0] == len(ROWS)


def test_duplicates_lower_the_estimate(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {number // 2} {100 * chr(97)}\n" for number in range(20_000)))
    estimates = _estimates(TextsSpec(source=str(path)))
    assert estimates[1023] == pytest.approx(10_000, rel=0.15)
    assert estimates[-1] == 10_000


def test_a_folder_of_files_counts_all_of_them(tmp_path):
    for name in ("one", "two"):
        table = pa.table({"text": [f"{name} {number}" for number in range(3000)]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    estimates = _estimates(TextsSpec(source=str(tmp_path)))
    assert estimates[0] == estimates[-1] == 6000


@pytest.mark.parametrize("limit", [500, {"document": 500, "query": 0}])
def test_the_estimate_is_at_most_the_limit(tmp_path, limit):
    assert set(_estimates(TextsSpec(source=_write(tmp_path, "parquet"), limit=limit))) == {500}


def test_the_estimate_knows_the_limit_of_one_kind(tmp_path):
    rows = [{"text": f"text {number}", "kind": "query" if number % 4 else "document"} for number in range(8000)]
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    estimates = _estimates(TextsSpec(source=str(path), limit={"query": 500}))
    assert estimates[-1] == pytest.approx(2500, abs=1)  # three rows are read after the last text
    assert estimates[600] == pytest.approx(2500, rel=0.05)


def test_sentences_raise_the_estimate(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"The wing number {n} is long. The tail number {n} is short.\n" for n in range(5000)))
    assert _estimates(TextsSpec(source=str(path), sentences=True))[-1] == 10_000


def test_documentation_is_estimated_by_its_modules(tmp_path):
    estimates = _estimates(TextsSpec(limit=3000))
    assert 1024 <= estimates[1023] <= 3000
    assert estimates[-1] == 3000


def test_nothing_is_expected_before_a_source_is_opened():
    assert ReadProgress().expected_texts(0) is None
