import json
import shutil
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import is_beir, load_beir

CORPUS = [{"_id": "d1", "title": "A title", "text": "a text"}, {"_id": "d2", "title": "", "text": "another"}]
QUERIES = [{"_id": "q1", "text": "judged"}, {"_id": "q2", "text": "not judged"}]
QRELS = [{"query-id": "q1", "corpus-id": "d1", "score": 2}, {"query-id": "q1", "corpus-id": "d2", "score": 0}]


def _write(folder, corpus=CORPUS, queries=QUERIES, qrels=QRELS):
    """Write the files of a BEIR set; a part that is None is left out."""
    for name, rows in (("corpus", corpus), ("queries", queries)):
        if rows is not None:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if qrels is not None:
        lines = ["\t".join(qrels[0]), *("\t".join(map(str, row.values())) for row in qrels)]
        (folder / "qrels").mkdir()
        (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_jsonl_and_parquet_hold_the_same_set(tmp_path):
    folders = [tmp_path / form / "tiny" for form in ("jsonl", "parquet")]
    for folder in folders:
        folder.mkdir(parents=True)
    _write(folders[0])
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES), ("qrels", QRELS)):
        pq.write_table(pa.Table.from_pylist(rows), folders[1] / f"{name}.parquet")
    beir, same = map(load_beir, folders)
    assert beir == same
    assert beir.name == "tiny"
    assert beir.corpus[0] == {"id": "d1", "title": "A title", "text": "a text"}
    assert beir.queries == [{"id": "q1", "text": "judged"}]
    assert beir.qrels == {"q1": {"d1": 2, "d2": 0}}


def _write_like_nanobeir(folder, parts=("train-00000-of-00001",)):
    pairs = [{"query-id": "q1", "corpus-id": "d1"}]
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES), ("qrels", pairs)):
        (folder / name).mkdir(parents=True)
        for part in parts:
            pq.write_table(pa.Table.from_pylist(rows), folder / name / f"{part}.parquet")
    return folder


def test_a_data_set_of_the_hub_has_a_folder_for_each_part(tmp_path):
    beir = load_beir(_write_like_nanobeir(tmp_path / "NanoNFCorpus"))
    assert beir.name == "NanoNFCorpus"
    assert [row["id"] for row in beir.corpus] == ["d1", "d2"]
    assert beir.qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("parts", "remedy"),
    [
        (("train-00000-of-00002", "train-00001-of-00002"), "merge them into one file"),
        (("0000", "0001"), "merge them into one file"),
        (("part_1", "part_2"), "merge them into one file"),
        (
            ("NanoTouche2020-00000-of-00001", "NanoNFCorpus-00000-of-00001"),
            "keep the split that is to be evaluated, of NanoNFCorpus, NanoTouche2020, and move the others away, in "
            "corpus, queries and qrels",
        ),
    ],
)
def test_several_files_for_a_part_are_splits_or_pieces(tmp_path, parts, remedy):
    with pytest.raises(InputError, match=rf"expected one file corpus/\*\.parquet, found 2: {remedy}$"):
        load_beir(_write_like_nanobeir(tmp_path / "large", parts))


def test_title_may_be_absent_and_ids_numbers(tmp_path):
    corpus = [{"_id": 7, "text": "no title", "metadata": {}}]
    qrels = [{"query-id": "q1", "corpus-id": "7", "score": 1}]
    assert load_beir(_write(tmp_path, corpus, qrels=qrels)).corpus == [{"id": "7", "title": "", "text": "no title"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": None}, r"expected corpus\.parquet or corpus\.jsonl or corpus/\*\.parquet, found none"),
        ({"qrels": None}, r"expected qrels\.parquet or qrels/test\.tsv or qrels\.tsv or qrels/\*\.parquet"),
        (
            {"queries": [{"_id": "q1", "query": "?"}]},
            r"queries\.jsonl: expected the columns _id, text, found _id, query: add or",
        ),
        (
            {"queries": [{"_id": "q9", "text": "?"}]},
            r"test\.tsv: query-id 'q1' and all others are not in queries\.jsonl",
        ),
        (
            {"corpus": CORPUS[1:]},
            r"test\.tsv: corpus-id 'd1' and all other relevant documents are not in corpus\.jsonl",
        ),
        (
            {"corpus": [{"doc_id": "d1", "text": "a"}]},
            r"corpus\.jsonl: expected the columns _id, text, found doc_id, text: add or rename the columns",
        ),
        (
            {"corpus": [*CORPUS, {"_id": "d3"}]},
            r"corpus\.jsonl: row 3 has no 'text', expected _id, text: correct the row",
        ),
        (
            {"qrels": [dict(zip(("query_id", "doc_id", "score"), QRELS[0].values(), strict=True))]},
            r"test\.tsv: expected the columns query-id, corpus-id, score, found query_id, doc_id, score: add or rename",
        ),
        ({"corpus": [*CORPUS, CORPUS[0]]}, r"corpus\.jsonl: _id 'd1' is not unique"),
        (
            {"corpus": [{"_id": None, "text": "a"}]},
            r"corpus\.jsonl: _id of row 1 is None, expected a string or an integer",
        ),
        (
            {"qrels": [{**QRELS[0], "score": "1e300"}]},
            r"test\.tsv: score of query 'q1' is '1e300', expected an integer",
        ),
        ({"corpus": [{"_id": "d1", "text": None}]}, r"corpus\.jsonl: text of _id 'd1' is None"),
        ({"corpus": [{"_id": "d1", "title": 3, "text": "a"}]}, r"corpus\.jsonl: title of _id 'd1' is 3"),
        ({"corpus": [{"_id": "d1", "text": "\ud800"}]}, r"text of _id 'd1' contains a lone surrogate"),
        ({"queries": [None]}, r"queries\.jsonl: row 1 is None, expected an object"),
        ({"qrels": [{"query-id": "q1", "corpus-id": "d1"}]}, r"test\.tsv: .* score, found query-id, corpus-id: add"),
        ({"qrels": QRELS[1:]}, r"test\.tsv: no score is above 0"),
        ({"qrels": [{**QRELS[0], "score": "high"}]}, r"test\.tsv: score of query 'q1' is 'high'"),
        ({"qrels": [{**QRELS[0], "score": 0.5}]}, r"test\.tsv: score of query 'q1' is '0\.5', expected an integer"),
    ],
)
def test_bad_sets_are_reported(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_beir(_write(tmp_path, **change))


@pytest.mark.parametrize("score", [0.5, float("inf"), float("nan")])
def test_scores_in_parquet_are_integers(tmp_path, score):
    _write(tmp_path)
    (tmp_path / "qrels" / "test.tsv").unlink()
    pq.write_table(pa.Table.from_pylist([{**QRELS[0], "score": score}]), tmp_path / "qrels.parquet")
    with pytest.raises(InputError, match=rf"qrels\.parquet: score of query 'q1' is {score}, expected an integer"):
        load_beir(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("corpus.jsonl", b"{", " cannot be read as jsonl"),
        ("corpus.parquet", b"PAR1\x00", " cannot be read as parquet"),
        ("corpus.parquet", b"{", ": expected a parquet file, found text"),
        ("corpus.parquet", b"", ": the file is empty"),
        (
            "queries.jsonl",
            b"version https://git-lfs.github.com/spec/v1\n",
            ": .*, found a git-LFS pointer .*git lfs pull",
        ),
        ("queries.jsonl", b"<!DOCTYPE html><html>", ": .*, found an HTML page"),
        ("qrels/test.tsv", "q1\td1\t1\n".encode("utf-16-le"), ": .*, found UTF-16-LE without a byte-order mark"),
    ],
)
def test_a_damaged_file_is_reported(tmp_path, name, content, found):
    _write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.") + found):
        load_beir(tmp_path)


def test_a_set_is_read_in_bounded_memory(tmp_path, caplog):
    """A file of a few KB that holds 4 MB in each row, as entries of a dictionary."""
    _write(tmp_path)
    rows = 32
    texts = pa.array(["a" * (1 << 22)]).take(pa.array([0] * rows))
    table = pa.table({"_id": [f"d{row}" for row in range(rows)], "text": texts, "other": texts})
    pq.write_table(table, tmp_path / "corpus.parquet", compression="zstd")
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)  # counts the memory of the next lines
    pa.set_memory_pool(pool)
    try:
        beir = load_beir(tmp_path)
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 100 << 20
    assert {len(row["text"]) for row in beir.corpus} == {1_000_000}
    assert len(beir.corpus) == rows
    assert "corpus.parquet: 32 texts have 1,000,000 characters or more: the first 1,000,000 are read" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_announces_the_encoding(tmp_path, encoding):
    expected = load_beir(_write(tmp_path))
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_bytes((text if encoding != "utf-16-be" else "\ufeff" + text).encode(encoding))
    assert load_beir(tmp_path) == expected


def test_joined_files_have_marks_and_headers_in_the_middle(tmp_path):
    expected = load_beir(_write(tmp_path))
    for name in ("corpus.jsonl", "queries.jsonl"):
        first, *others = (tmp_path / name).read_text().splitlines()
        (tmp_path / name).write_text("\n".join(["\ufeff" + first, *("\ufeff" + line for line in others)]))
    header, *judged = (tmp_path / "qrels" / "test.tsv").read_text().splitlines()
    joined = (line for row in judged for line in ("\ufeff" + header, row))
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(joined))
    assert load_beir(tmp_path) == expected


def test_a_broken_row_of_jsonl_is_numbered(tmp_path):
    _write(tmp_path)
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write('\n{"_id": "d9", "text": \n')
    row = sum(1 for line in (tmp_path / "corpus.jsonl").read_text().splitlines() if line)  # blank lines are no rows
    with pytest.raises(
        InputError, match=rf"corpus\.jsonl cannot be read as jsonl \(row {row}: Expecting value at char"
    ):
        load_beir(tmp_path)


@pytest.mark.parametrize(
    "qrels",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2.0\nq1\td2\t0e0\n",
        "query-id\tcorpus-id\tscore\r\nq1\td1\t2\r\nq1\td2\t0\r\n\r\n \t\t\r\n",
        '"query-id"\t"corpus-id"\t"score"\n"q1"\t"d1"\t2\n"q1"\t"d2"\t0\n',
        "q1\td1\t2\nq1\td2\t0\n",
        "q1\t0\td1\t2\nq1\t0\td2\t0\n",
        "q1 0 d1 2\nq1 Q0 d2 0\n",
    ],
    ids=["decimals", "crlf", "quotes", "no header", "trec", "trec with spaces"],
)
def test_judgements_in_every_form_are_the_same(tmp_path, qrels):
    _write(tmp_path)
    (tmp_path / "qrels" / "test.tsv").write_bytes(qrels.encode())
    assert load_beir(tmp_path).qrels == {"q1": {"d1": 2, "d2": 0}}


def test_hidden_files_are_ignored(tmp_path):
    folder = _write_like_nanobeir(tmp_path / "hub")
    for part in ("corpus", "queries", "qrels"):
        (folder / part / "._train-00000-of-00001.parquet").write_bytes(b"a resource fork")
        (folder / part / "_part.parquet").write_bytes(b"a file in progress")
    assert [row["id"] for row in load_beir(folder).corpus] == ["d1", "d2"]


def test_ids_that_pandas_turned_into_decimals_are_integers(tmp_path):
    corpus, queries = [{"id": 7.0, "text": "a"}], [{"id": "q1", "text": "b"}]
    beir = load_beir(_write(tmp_path, corpus, queries, [{"query-id": "q1", "corpus-id": "7", "score": 1}]))
    assert [row["id"] for row in beir.corpus] == ["7"]


def test_judgements_of_missing_documents_and_queries_are_counted(tmp_path, caplog):
    qrels = [*QRELS, {**QRELS[0], "corpus-id": "gone"}, {**QRELS[0], "query-id": "q9"}]
    beir = load_beir(_write(tmp_path, qrels=qrels))
    assert beir.qrels == {"q1": {"d1": 2, "d2": 0, "gone": 2}}
    assert "1 of 2 judged queries are not in queries.jsonl: they are left out, as in mteb" in caplog.text
    assert "1 of 3 judged documents are not in corpus.jsonl: they count as not found, as in mteb" in caplog.text
    load_beir(tmp_path)
    assert len(caplog.records) == 2


def test_judgements_that_contradict_each_other_are_counted(tmp_path, caplog):
    _write(tmp_path, qrels=[*QRELS, {**QRELS[0], "score": 3}, QRELS[1]])
    assert load_beir(tmp_path).qrels[QRELS[0]["query-id"]][QRELS[0]["corpus-id"]] == 3
    assert "1 rows repeat a judgement with another score: the last score counts" in caplog.text


def test_a_query_is_a_document_if_id_and_text_are_equal(tmp_path):
    corpus = [
        {"_id": "1", "title": "A title", "text": "Cats,  dogs"},
        {"_id": "2", "text": "birds"},
        {"_id": "3", "title": "Red", "text": "fish"},
        {"_id": "4", "text": "judged"},
        {"_id": "5", "text": "mice"},
    ]
    queries = [{"_id": str(number), "text": text} for number, text in enumerate(("cats dogs", "mice", "red fish"), 1)]
    queries.append({"_id": "4", "text": "judged"})
    qrels = [{"query-id": str(number), "corpus-id": "5", "score": 1} for number in range(1, 5)]
    qrels.append({"query-id": "4", "corpus-id": "4", "score": 1})
    beir = load_beir(_write(tmp_path, corpus, queries, qrels))
    assert beir.own == {"1": 0, "3": 2}
    assert beir.own_places.tolist() == [0, -1, 2, -1]


def test_missing_judgements_name_the_files_of_other_splits(tmp_path):
    _write(tmp_path)
    (tmp_path / "qrels" / "test.tsv").rename(tmp_path / "qrels" / "dev.tsv")
    with pytest.raises(InputError, match=r"expected qrels\.parquet .*, found qrels/dev\.tsv: add or rename the file"):
        load_beir(tmp_path)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (
            ("test-00000-of-00001", "train-00000-of-00001"),
            "keep the split that is to be evaluated, of test, train, and move the others away",
        ),
        (("test-00000-of-00002", "test-00001-of-00002"), "merge them into one file"),
    ],
)
def test_several_files_of_judgements_are_splits_or_pieces(tmp_path, names, remedy):
    folder = _write(tmp_path, qrels=None)
    (folder / "qrels").mkdir()
    for name in names:
        pq.write_table(pa.Table.from_pylist(QRELS), folder / "qrels" / f"{name}.parquet")
    with pytest.raises(InputError, match=rf"expected one file qrels/\*\.parquet, found 2: {remedy}$"):
        load_beir(folder)


def test_judgements_of_the_default_configuration_of_a_data_set_are_read(tmp_path):
    folder = _write_like_nanobeir(tmp_path / "hub")
    expected = load_beir(folder).qrels
    (folder / "qrels").rename(folder / "data")
    assert load_beir(folder).qrels == expected
    for part in ("corpus", "queries"):
        shutil.rmtree(folder / part)
    assert not is_beir(folder)  # a data set of training texts has such a folder too


def test_a_piece_of_a_part_is_reported(tmp_path):
    message = r"expected one file .*, found a piece of it \(.*/test-\*-of-00002\.parquet: 1 of 2 files are here\): add"
    with pytest.raises(InputError, match=message):
        load_beir(_write_like_nanobeir(tmp_path / "cut", ["test-00000-of-00002"]))
    with pytest.raises(InputError, match=r"found a piece of it .*: 1 of 2 files are here"):
        load_beir(_write_like_nanobeir(tmp_path / "other", ["test-0-of-2"]))


@pytest.mark.parametrize("name", ["qrels/test.jsonl", "qrels.jsonl", "qrels/test.csv"])
def test_judgements_in_another_form_are_to_convert(tmp_path, name):
    folder = _write(tmp_path, qrels=None)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in QRELS))
    remedy = r"convert the file to a \.parquet or \.tsv file with the columns query-id, corpus-id, score"
    with pytest.raises(InputError, match=rf"expected qrels\.parquet or .*, found {name}: {remedy}$"):
        load_beir(folder)


@pytest.mark.parametrize(
    ("part", "name"),
    [("corpus", "corpus.tsv"), ("queries", "queries.csv"), ("corpus", "corpus/data-00000-of-00001.arrow")],
)
def test_texts_in_another_form_are_to_convert(tmp_path, part, name):
    folder = _write(tmp_path)
    (folder / f"{part}.jsonl").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("_id\ttext\nd1\tcats\n")
    remedy = r"convert the file to a \.jsonl or \.parquet file with the columns _id, text"
    with pytest.raises(InputError, match=rf"expected {part}\.parquet or .*, found {name}: {remedy}$"):
        load_beir(folder)


@pytest.mark.parametrize("name", ["top_ranked/test.parquet", "default-top_ranked/a.parquet", "top_ranked.jsonl"])
def test_candidates_for_reranking_are_not_left_out_silently(tmp_path, name):
    expected = load_beir(_write(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    part = name.partition("/")[0]
    with pytest.raises(InputError, match=rf"found {part}, the candidates of each query: name the .* remove {part} to"):
        load_beir(tmp_path)
    assert load_beir(tmp_path, unjudged=True).corpus == expected.corpus


def test_no_instruction_is_nothing_left_out(tmp_path):
    queries = [{**row, "instruction": instruction} for row, instruction in zip(QUERIES, (None, ""), strict=True)]
    folder = _write(tmp_path, queries=queries)
    (folder / "instructions.md").touch()  # for those who judge
    assert load_beir(folder).queries == [{"id": "q1", "text": "judged"}]


@pytest.mark.parametrize("form", ["jsonl", "parquet", "folder"])
def test_instructions_are_not_left_out_silently(tmp_path, form):
    queries = QUERIES if form == "folder" else [{**row, "instruction": "Find cats."} for row in QUERIES]
    folder, found = _write(tmp_path, queries=queries), f"the column instruction of queries.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(queries), folder / "queries.parquet")
    elif form == "folder":
        (folder / "instruction").mkdir()
        found = "instruction"
    with pytest.raises(InputError, match=rf"found {found}: name the task of mteb .* or append each .* remove {found}$"):
        load_beir(folder)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([Decimal(12345678901234567890), Decimal(2)], pa.decimal128(38, 0)), ["12345678901234567890", "2"]),
        (pa.array([UUID(int=1).bytes, UUID(int=2).bytes], pa.uuid()), [str(UUID(int=1)), str(UUID(int=2))]),
        (pa.array([b"d1", b"d2"]), ["d1", "d2"]),
    ],
    ids=["decimal", "uuid", "binary"],
)
def test_ids_of_databases(tmp_path, ids, expected):
    folder = _write(tmp_path, qrels=None)
    pq.write_table(pa.table({"_id": ids, "text": [b"cats", b"dogs"]}), folder / "corpus.parquet")
    pq.write_table(pa.table({"query-id": ["q1", "q1"], "corpus-id": ids}), folder / "qrels.parquet")
    beir = load_beir(folder)
    assert [(row["id"], row["text"]) for row in beir.corpus] == list(zip(expected, ("cats", "dogs"), strict=True))
    assert beir.qrels == {"q1": dict.fromkeys(expected, 1)}


@pytest.mark.parametrize("header", ["query-id,corpus-id,score\n", ""])
def test_judgements_separated_by_commas_are_reported(tmp_path, header):
    _write(tmp_path)
    (tmp_path / "qrels" / "test.tsv").write_text(f"{header}q1,d1,1\n")
    with pytest.raises(InputError, match=r"test\.tsv: expected columns separated by tabs, found 'q.*,.*': replace"):
        load_beir(tmp_path)


def test_queries_without_judgements_are_kept_if_asked_for(tmp_path):
    _write(tmp_path, queries=[*QUERIES, {"_id": "d1", "text": CORPUS[0]["text"]}])
    kept = load_beir(tmp_path, unjudged=True)
    assert [row["id"] for row in kept.queries] == [*(row["_id"] for row in QUERIES), "d1"]
    assert kept.own["d1"] == 0  # a document that is the query itself
    assert "d1" not in [row["id"] for row in load_beir(tmp_path).queries]


def test_a_link_to_nothing_is_named(tmp_path):
    folder = _write(tmp_path)
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl").symlink_to("elsewhere.jsonl")
    with pytest.raises(InputError, match=r"corpus\.jsonl is a link to elsewhere\.jsonl, which does not exist"):
        load_beir(folder)


def test_a_compressed_file_is_to_unpack(tmp_path):
    folder = _write(tmp_path)
    (folder / "corpus.jsonl").rename(folder / "corpus.jsonl.gz")
    with pytest.raises(InputError, match=r"found corpus\.jsonl\.gz: unpack the file"):
        load_beir(folder)


def test_a_file_with_a_name_in_other_case_is_shown(tmp_path):
    folder = _write(tmp_path)
    (folder / "corpus.jsonl").rename(folder / "Corpus.jsonl")
    with pytest.raises(InputError, match=r"found Corpus\.jsonl: add or rename the file"):
        load_beir(folder)


def test_a_gap_in_a_file_ends_at_the_longest_line(tmp_path, monkeypatch):
    monkeypatch.setattr("leaf_st.texts.lines.LONGEST_LINE", 1000)
    folder = _write(tmp_path)
    with (folder / "corpus.jsonl").open("ab") as file:
        file.truncate(1 << 32)  # sparse: needs no space on the disk
    with pytest.raises(InputError, match="expected lines of less than 1,000 characters, found more in line 3"):
        load_beir(folder)


@pytest.mark.parametrize("name", ["relevance", "Score"])
def test_a_parquet_file_of_judgements_with_another_name_of_the_grade(tmp_path, name):
    folder = _write(tmp_path, qrels=None)
    table = pa.table({"query-id": ["q1", "q1"], "corpus-id": ["d1", "d2"], name: [1, 0]})
    pq.write_table(table, folder / "qrels.parquet")
    with pytest.raises(InputError, match=f"expected a column score .*, found the column {name}: rename"):
        load_beir(folder)
    pq.write_table(table.drop_columns(name), folder / "qrels.parquet")
    assert load_beir(folder).qrels == {"q1": {"d1": 1, "d2": 1}}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_titles_under_another_name_are_not_left_out(tmp_path, form):
    rows = [{"_id": "d1", "Title": "A title", "text": "a text"}]
    folder = _write(tmp_path, corpus=rows)
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "corpus.parquet")
    with pytest.raises(InputError, match=f"corpus.{form}: expected the column 'title' or none, found 'Title': rename"):
        load_beir(folder)
