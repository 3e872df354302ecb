"""Any text in a file of rows, any bytes in place of a file, and any document for the sentence finder."""

import csv
import io
import json
from collections import Counter
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.texts.check import flaw
from leaf_st.texts.read import read_texts
from leaf_st.texts.sentence import one_sentence

IN_A_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
TEXTS = st.lists(st.text(max_size=60), max_size=20)
PIECES = st.sampled_from(["A leaf is green", "it", "what is a leaf", "3 leaves", "é", "\n", " ", ". ", "! ", "? ", "."])


def _read(path):
    skipped = Counter()
    return {row.text for row in read_texts(TextsSpec(source=str(path)), skipped)}, sum(skipped.values())


def _usable(texts):
    return {text.strip() for text in texts if flaw(text, "document") is None}


@IN_A_FILE
@given(texts=TEXTS)
def test_every_row_of_a_jsonl_file_is_read_or_counted(texts, tmp_path):
    rows = ["first", *texts]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    found, skipped = _read(tmp_path / "rows.jsonl")
    assert found == _usable(rows)
    assert skipped == len(rows) - len(found)


@IN_A_FILE
@given(texts=TEXTS)
def test_every_usable_text_of_a_csv_file_is_read(texts, tmp_path):
    rows = ["first", *(text for text in texts if flaw(text, "document") is None)]
    content = io.StringIO()
    csv.writer(content, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in rows)])
    (tmp_path / "rows.csv").write_bytes(content.getvalue().encode())
    assert _read(tmp_path / "rows.csv")[0] == _usable(rows)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "txt", "parquet", "arrow", "feather"])
@settings(IN_A_FILE, max_examples=25)
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_texts_or_an_error(ending, content, tmp_path):
    (tmp_path / f"any.{ending}").write_bytes(content)
    with suppress(InputError):
        texts, _ = _read(tmp_path / f"any.{ending}")
        assert texts
        assert all(flaw(text, "document") is None for text in texts)


@given(st.lists(PIECES | st.text(max_size=10), max_size=40).map("".join))
def test_a_sentence_is_a_part_of_its_document(document):
    with suppress(UnicodeEncodeError):
        document.encode()  # only such texts are documents
        if (sentence := one_sentence(document)) is not None:
            assert sentence in document
            assert sentence != document.strip()
            assert 4 <= len(sentence.split()) <= 60
            assert one_sentence(document) == sentence


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.list_(pa.int32())])
def test_offsets_beyond_an_arrow_file_are_an_error_and_no_crash(kind, tmp_path):
    value, width = [1] * 11 if pa.types.is_list(kind) else "eleven ends", 8 if kind == pa.large_string() else 4
    table = pa.table({"text": ["text"] * 50, "kind": pa.array([value] * 50, kind)})
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    content = (tmp_path / "rows.arrow").read_bytes()
    offsets = [number.to_bytes(width, "little") for number in (0, 11, 22)]
    assert content.count(b"".join(offsets)) == 1
    damaged = content.replace(b"".join(offsets), offsets[0] + (1 << 30).to_bytes(width, "little") + offsets[2])
    (tmp_path / "rows.arrow").write_bytes(damaged)
    with pytest.raises(InputError, match="broken arrow"):
        _read(tmp_path / "rows.arrow")
