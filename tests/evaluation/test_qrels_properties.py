"""Any judgements in each format, and any bytes in place of them."""

import json
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir

IN_A_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
IDS = [*"abcde", "0", "00", "1e5", "NaN", "é", "-1"]
GRADES = st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), min_size=1)
QRELS = st.dictionaries(st.sampled_from(IDS), GRADES, min_size=1)


def _folder(folder):
    (folder / "qrels").mkdir(exist_ok=True)
    for name in ("corpus", "queries"):
        lines = [json.dumps({"_id": key, "text": f"text {key}"}) + "\n" for key in IDS]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("form", ["tsv", "parquet"])
@IN_A_FILE
@given(qrels=QRELS.filter(lambda qrels: any(map(any, (row.values() for row in qrels.values())))))
def test_judgements_are_read_as_written(form, qrels, tmp_path):
    rows = [(query, document, grade) for query, judged in qrels.items() for document, grade in judged.items()]
    folder, columns = _folder(tmp_path), ("query-id", "corpus-id", "score")
    if form == "tsv":
        lines = ["\t".join(map(str, row)) + "\n" for row in (columns, *rows)]
        (folder / "qrels" / "test.tsv").write_text("".join(lines))
    else:
        table = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
        pq.write_table(table, folder / "qrels.parquet")
    found = load_beir(folder)
    assert found.qrels == qrels
    assert {query["id"] for query in found.queries} == set(qrels)


@pytest.mark.parametrize("name", ["qrels/test.tsv", "qrels.parquet", "corpus.jsonl", "queries.jsonl"])
@IN_A_FILE
@given(
    content=st.binary(max_size=200)
    | st.text("\t\n\r\"'0123456789{}[]:,_id abquery-idcorpus-idscore\0", max_size=200).map(str.encode)
)
def test_any_bytes_are_an_error(name, content, tmp_path):
    folder = _folder(tmp_path)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\tb\t1\n")
    (folder / name).write_bytes(content)
    with suppress(InputError):
        found = load_beir(folder)
        assert any(grade > 0 for judged in found.qrels.values() for grade in judged.values())
