import base64
import errno
import io
import json
import os
from collections import Counter

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest

from leaf_st.errors import InputError, cannot_write
from leaf_st.recipe import TextsSpec
from leaf_st.texts import Text
from leaf_st.texts.files import read_file, titled_blocks
from leaf_st.texts.read import read_texts

RECORDS = [
    {"text": "what is a leaf", "kind": "query"},
    {"text": "a leaf, green and\nthin", "kind": "document"},
    {"text": 'so-called "leaves"', "kind": None},
]
ROWS = [(record["text"], record["kind"] or "document") for record in RECORDS]


def rows(path, **spec):
    skipped = Counter()
    found = read_file(TextsSpec(source=str(path), **spec), skipped)
    return [Text(*row) for block in found for row in zip(block.texts, block.kinds, strict=True)], skipped


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_parquet(path, records, **options):
    pq.write_table(pa.Table.from_pylist(records), path, **options)
    return path


def test_parquet_jsonl_and_csv_give_the_same_rows(tmp_path):
    table = write_parquet(tmp_path / "a.parquet", RECORDS, row_group_size=2)
    lines = write_jsonl(tmp_path / "a.jsonl", RECORDS)
    sheet = tmp_path / "a.CSV"
    sheet.write_text('kind,text\nquery,what is a leaf\ndocument,"a leaf, green and\nthin"\n,"so-called ""leaves"""\n')
    for path in (table, lines, sheet):
        assert rows(path) == (ROWS, Counter())


def test_txt_is_one_text_a_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffeins\r\nzwei\u2028drei\n\nvier".encode())
    found, _ = rows(path, kind="query")
    assert [(text.strip(), kind) for text, kind in found] == [
        (text, "query") for text in ("eins", "zwei\u2028drei", "", "vier")
    ]


def test_columns_of_other_names_and_types(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [{"body": 3, "role": 4, "text": "x"}])
    assert rows(path, text_column="body", kind_column="role")[0] == [(3, 4)]
    assert rows(path, text_column="body")[0] == [(3, "document")]


def test_dictionary_and_large_string_columns(tmp_path):
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"text": pa.array(["a", None, "a"]).cast(kind)}), tmp_path / "a.parquet")
        assert [row.text for row in rows(tmp_path / "a.parquet")[0]] == ["a", None, "a"]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
def test_a_dictionary_of_views(tmp_path, kind):
    # polars writes its types Categorical and Enum in this form.
    values = pa.array(["a", "b"]).cast(kind)
    table = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0, None, 1, 0], pa.uint8()), values)})
    feather.write_feather(table, tmp_path / "a.feather")
    assert [row.text for row in rows(tmp_path / "a.feather")[0]] == ["a", None, "b", "a"]


def test_beir_folder_with_documents_alone(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "title": "Wings", "text": "They lift."}\n')
    assert rows(tmp_path)[0] == [("Wings They lift.", "document")]


@pytest.mark.parametrize(
    ("corpus", "name", "remedy"),
    [
        ("corpus.jsonl", "queries.tsv", "convert or rename the files, or move them away to read only the documents"),
        ("corpus.jsonl", "Queries.jsonl", "convert or rename the files, or move them away"),
        ("corpus.jsonl", "queries/queries.jsonl", "convert or rename the files, or move them away"),
        ("corpus.jsonl", "queries.jsonl.gz", "unpack the files$"),
        ("corpus/a.parquet", "queries/queries.jsonl", "convert or rename the files, or move them away"),
    ],
)
def test_queries_of_a_form_that_is_not_read_are_not_left_out_silently(tmp_path, corpus, name, remedy):
    for file in (corpus, name):
        (tmp_path / file).parent.mkdir(exist_ok=True)
    (write_jsonl if corpus.endswith("jsonl") else write_parquet)(tmp_path / corpus, [{"text": "a b"}])
    (tmp_path / name).write_text('{"text": "what is a"}\n')
    with pytest.raises(InputError, match=rf": expected queries\.parquet or queries\.jsonl, found {name}: {remedy}"):
        rows(tmp_path)
    (tmp_path / name).unlink()
    assert rows(tmp_path)[0] == [Text("a b", "document")]


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_link_to_nothing_in_a_beir_folder_is_named(tmp_path, name):
    for file in ("corpus.jsonl", "queries.jsonl"):
        write_jsonl(tmp_path / file, [{"text": "a b"}])
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=rf"{name}: a link to .*gone, which does not exist: restore that file, or"):
        rows(tmp_path)


def test_beir_folder_alternates_documents_with_titles_and_queries(tmp_path):
    corpus = [{"_id": "1", "title": "Leaf", "text": "Green."}, {"_id": "2", "title": None, "text": "Thin."}]
    write_parquet(tmp_path / "corpus.parquet", [*corpus, {"_id": "3", "title": "Bark", "text": "Brown."}])
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q", "text": "colour of leaves"}])
    assert rows(tmp_path)[0] == [
        ("Leaf Green.", "document"),
        ("colour of leaves", "query"),
        ("Thin.", "document"),
        ("Bark Brown.", "document"),
    ]


def test_other_forms_of_a_table_in_a_beir_folder_are_named(tmp_path, caplog):
    write_parquet(tmp_path / "corpus.parquet", [{"_id": "1", "text": "Green."}])
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "1", "text": "Brown."}])
    assert rows(tmp_path)[0] == [("Green.", "document")]
    assert f"{tmp_path}: corpus.parquet is read, and not corpus.jsonl" in caplog.text


@pytest.mark.parametrize("other", ["queries.sql", "corpus.2023.parquet", "corpus.md"])
def test_a_file_that_only_begins_as_a_part_of_a_beir_folder(tmp_path, other):
    write_parquet(tmp_path / "part-0.parquet", [{"text": "Green."}])
    write_parquet(tmp_path / "part-1.parquet", [{"text": "Brown."}])
    if other.endswith("parquet"):
        write_parquet(tmp_path / other, [{"text": "Red."}])
    else:
        (tmp_path / other).touch()
    found = [text for text, _ in rows(tmp_path)[0]]
    assert found == (["Red.", "Green.", "Brown."] if other.endswith("parquet") else ["Green.", "Brown."])


@pytest.mark.parametrize("form", ["{}.0.parquet", "{}.PARQUET"])
def test_tables_of_two_kinds_with_other_names_are_refused(tmp_path, form):
    for name in ("corpus", "queries"):
        write_parquet(tmp_path / form.format(name), [{"text": name}])
    with pytest.raises(InputError, match="expected parquet files, or a BEIR folder with corpus"):
        rows(tmp_path)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (("1.txt", "2.txt"), "join the files into one file, and name that file"),
        (("1.jsonl", "2.jsonl"), "join the files into one file, and name that file"),
        (("wiki_00", "wiki_01"), r"join the files into one file with a name that ends in \.jsonl, and name that file"),
        (("documents.jsonl", "queries.jsonl"), "name a file of the folder instead"),
        (("1.txt", "2.jsonl"), "name a file of the folder instead"),
    ],
)
def test_files_that_are_read_one_at_a_time_are_to_be_joined(tmp_path, names, remedy):
    for name in names:
        write_jsonl(tmp_path / name, [{"text": "a"}, {"text": "b"}])
    with pytest.raises(InputError, match=rf": {remedy}$"):
        rows(tmp_path)


@pytest.mark.parametrize("files", [[], ["corpus.txt"], ["queries.parquet", "other.txt"]])
def test_folder_that_is_no_beir_folder(tmp_path, files):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"or a BEIR folder.*found " + (", ".join(sorted(files)) or "nothing")):
        rows(tmp_path)


@pytest.mark.parametrize("name", ["8e4d-0_data.0.parq", "000000_0"])
def test_parquet_files_without_the_ending_are_to_rename(tmp_path, name):
    path = write_parquet(tmp_path / "a.parquet", RECORDS)
    path.rename(tmp_path / name)
    with pytest.raises(InputError, match=rf"found {name}: rename the files to names with \.parquet, because {name} is"):
        rows(tmp_path)
    (tmp_path / name).rename(path)
    assert rows(tmp_path) == (ROWS, Counter())


def test_an_empty_folder_has_no_file_to_name(tmp_path):
    with pytest.raises(InputError, match="found nothing: name a folder with files"):
        rows(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        rows(tmp_path / "none.jsonl")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".txt"])
def test_empty_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.touch()
    with pytest.raises(InputError, match="the file is empty"):
        rows(path)


@pytest.mark.parametrize("name", ["a.xlsx", "a"])
def test_unknown_ending_names_the_known_ones(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=r"\.parquet, \.arrow, \.feather, \.jsonl, \.csv, \.tsv, \.txt"):
        rows(tmp_path / name)


def test_column_that_is_not_there(tmp_path):
    table = write_parquet(tmp_path / "a.parquet", RECORDS)
    lines = write_jsonl(tmp_path / "a.jsonl", RECORDS)
    sheet = tmp_path / "a.csv"
    sheet.write_text("text,kind\nx,query\n")
    for path in (table, lines, sheet):
        with pytest.raises(
            InputError, match=r"^texts\.text_column: expected a column 'body' in .*, found text, kind: name"
        ):
            rows(path, text_column="body")


def test_broken_parquet_names_the_row_group(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [{"text": f"{number}" * 50} for number in range(3000)]
    write_parquet(path, texts, row_group_size=1000, compression="zstd", use_dictionary=False)
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 64] = b"\xff" * 64
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"a\.parquet, row group 1: broken parquet"):
        rows(path)
    path.write_bytes(damaged[:-20])
    with pytest.raises(InputError, match=r"a\.parquet, footer: broken parquet"):
        rows(path)


def _replace(path, before, after):
    content = path.read_bytes()
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after))


def test_a_column_of_maps_as_hive_writes_it(tmp_path):
    path = tmp_path / "a.parquet"
    maps = pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"text": ["cats"], "meta": maps}), path, store_schema=False)
    _replace(path, b"\x25\x00\x18\x03key", b"\x25\x02\x18\x03key")  # the keys are optional
    with pytest.raises(InputError, match=r"Map keys must be annotated.*: write the table again without its columns of"):
        rows(path)


def test_a_compression_that_cannot_be_read(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [{"text": "cats"}], compression="snappy")
    _replace(path, b"\x04text\x15\x02", b"\x04text\x15\x06")  # LZO
    with pytest.raises(InputError, match=r"broken parquet \(While LZO .*\): compress the file with zstd or snappy$"):
        rows(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())])
def test_binary_columns_are_texts_in_utf8(tmp_path, kind):
    values = pa.array(["größe".encode(), b"bad \xff", None])
    column = values.view(kind) if kind == pa.string() else values.cast(kind)
    table = pa.table({"text": column, "kind": pa.array([b"query", b"query", None])})
    expected = [("größe", "query"), ("bad \udcff", "query"), (None, "document")]
    pq.write_table(table, tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet")[0] == expected
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert rows(tmp_path / "a.arrow")[0] == expected


def test_jsonl_lines_that_are_no_objects_are_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('["x"]\n{"text": "good"\n{"text": "good"}\n\n' + "[" * 100_000 + '\n{"kind": "query"}\n')
    reasons = {"not a JSON object": 1, "not a JSON object but an array": 1, "nested too deeply for Python": 1}
    assert rows(path) == ([("good", "document"), (None, "query")], Counter(reasons))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('"cats"', "a string"),
        ("1.5", "a number"),
        ("null", "null"),
        ("true", "true or false"),
        ('{"text": "a"} {"text": "b"}', "several"),
        (' {"text": "a"}{"text": "b"}', "several"),
        ('{"text": "a"},', "one with other characters after it"),
    ],
)
def test_what_a_jsonl_line_is_in_place_of_an_object_is_counted(tmp_path, line, found):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "good"}}\n{line}\n')
    assert rows(path)[1] == Counter({f"not a JSON object but {found}": 1})


@pytest.mark.parametrize(("name", "head", "tail"), [("a.txt", b"", b"\n"), ("a.csv", b"text\n", b"\n")])
def test_undecodable_line_becomes_a_lone_surrogate(tmp_path, name, head, tail):
    path = tmp_path / name
    path.write_bytes(head + b"good" + tail + b"b\xffd" + tail)
    assert [row.text.strip() for row in rows(path)[0]] == ["good", "b\udcffd"]


def test_undecodable_jsonl_line_becomes_a_lone_surrogate(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "b\xffd"}\n')
    assert rows(path)[0] == [("b\udcffd", "document")]


def test_csv_with_a_long_field_and_with_a_short_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"kind,text\nquery,{'x' * 500_000}\nquery\n")
    assert [row.text for row in rows(path)[0]] == ["x" * 500_000, None]


def test_csv_with_a_quote_left_open_names_the_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text\ngood\n"bad\nmore\n')
    with pytest.raises(InputError, match=r"a\.csv, after line 2: broken csv \(unexpected end of data\)"):
        rows(path)


def test_rows_are_streamed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text\ngood\n"bad')
    assert next(read_file(TextsSpec(source=str(path)), Counter()))[:2] == (["good"], ["document"])


def _write_arrow(table, path):
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(("ending", "write"), [("parquet", pq.write_table), ("arrow", _write_arrow)])
def test_two_columns_of_the_same_name_are_refused_if_one_is_read(tmp_path, ending, write):
    path = tmp_path / f"a.{ending}"
    write(pa.table([["a"], ["b"], ["c"]], names=["text", "text", "body"]), path)
    with pytest.raises(InputError, match=r"^texts.source .*a\.\w+, .* 0: .*expected one column 'text', found 2"):
        rows(path)
    assert rows(path, text_column="body")[0] == [("c", "document")]


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t")])
def test_a_header_that_names_a_column_twice_is_refused_if_it_is_read(tmp_path, ending, separator):
    path = tmp_path / f"a.{ending}"
    path.write_text("text,text,body\na,b,c\n".replace(",", separator))
    with pytest.raises(InputError, match=r"^texts.source .*expected one column 'text', found 2: rename"):
        rows(path)
    assert rows(path, text_column="body")[0] == [("c", "document")]


def test_csv_rows_with_more_cells_than_the_header_are_counted_and_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,hello there, and more\n2,"hello there, and more"\n')
    assert rows(path) == ([("hello there, and more", "document")], Counter({"with more cells than the header": 1}))


@pytest.mark.parametrize("header", ['"text";"kind"', '"text"\t"kind"', '"text"|"kind"'])
def test_a_header_of_quoted_names_and_another_separator_is_named(tmp_path, header):
    path = tmp_path / "a.csv"
    path.write_text(f'{header}\n"a b";"query"\n')
    with pytest.raises(InputError, match=r"expected columns separated by ',', found '(;|\|)|expected .* '\\t'"):
        rows(path)


@pytest.mark.parametrize("name", ["Kind", " kind", "KIND "])
@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_kind_column_that_is_written_in_another_way_is_not_ignored(tmp_path, ending, name):
    path, record = tmp_path / f"a.{ending}", {"text": "a b", name: "query"}
    if ending == "csv":
        path.write_text(f"text,{name}\na b,query\n")
    else:
        (write_parquet if ending == "parquet" else write_jsonl)(path, [record])
    with pytest.raises(InputError, match=f"expected the column 'kind' or none, found '{name}': rename that column"):
        rows(path)


@pytest.mark.parametrize("ending", ["txt", "jsonl", "csv"])
def test_a_gap_in_a_file_ends_at_the_longest_line(tmp_path, monkeypatch, ending):
    monkeypatch.setattr("leaf_st.texts.lines.LONGEST_LINE", 1000)
    path = tmp_path / f"a.{ending}"
    head = {"txt": "", "jsonl": "", "csv": "text\n"}[ending]
    row = '{"text": "a"}\n' if ending == "jsonl" else "a b\n"
    path.write_text(head + row * 999)
    assert len(rows(path)[0]) == 999
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + (1 << 32))  # sparse: needs no space on the disk
    line = 1000 + bool(head)
    with pytest.raises(InputError, match=f"lines of less than 1,000 characters, found more in line {line:,}: write"):
        rows(path)


def test_a_pipe_is_no_missing_file(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="a pipe or device, which cannot be read twice: write its content to a file"):
        rows(tmp_path / "a.jsonl")


def test_the_name_of_a_data_set_on_the_hub_needs_its_scheme():
    with pytest.raises(InputError, match=r"no such file: .*, or a data set on the hub as hf://datasets/some/data"):
        rows("some/data")


@pytest.mark.parametrize("name", ["corpus.jsonl.gz", "part-0.jsonl.zst"])
def test_a_folder_of_compressed_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(InputError, match=f"found {name}: unpack the files"):
        rows(tmp_path)


def test_a_file_of_an_empty_data_frame_has_no_rows(tmp_path):
    write_parquet(tmp_path / "a.parquet", [{"text": "a b"}])
    pq.write_table(pa.table({}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": ["c d"]}), tmp_path / "c.parquet")
    assert rows(tmp_path)[0] == [Text("a b", "document"), Text("c d", "document")]


@pytest.mark.parametrize("blank", ["\n", "\r\n\n", "  \n", ",\n"])
def test_blank_lines_above_the_header_are_left_out(tmp_path, blank):
    path = tmp_path / "a.csv"
    path.write_text(f"{blank}text,kind\na b,query\n", newline="")
    assert rows(path)[0] == [Text("a b", "query")]
    path.write_text(blank, newline="")
    with pytest.raises(InputError, match=r"expected a column 'text' in .*, found none"):
        rows(path)


def test_a_title_column_may_be_named_in_any_way(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a b", "Title": "c"}])
    assert list(titled_blocks(path, "text", "Title")) == [("a b", "c", "a b")]


def test_a_retrieval_set_of_the_hub_has_a_folder_for_each_part(tmp_path):
    for name, kind in (("corpus", "document"), ("queries", "query"), ("qrels", "none")):
        (tmp_path / name).mkdir()
        table = {"query-id": ["q"]} if name == "qrels" else {"_id": ["1", "2"], "text": [f"a {kind}", f"{kind} b"]}
        pq.write_table(pa.table(table), tmp_path / name / "train-00000-of-00001.parquet")
    assert rows(tmp_path)[0] == [
        Text("a document", "document"),
        Text("a query", "query"),
        Text("document b", "document"),
        Text("query b", "query"),
    ]


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_column_of_kinds_that_the_recipe_names_must_exist(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        path.write_text("text,type\na b,query\n")
    else:
        (write_parquet if ending == "parquet" else write_jsonl)(path, [{"text": "a b", "type": "query"}])
    assert rows(path, kind_column="type")[0] == [Text("a b", "query")]
    with pytest.raises(InputError, match=r"texts\.kind_column: expected a column 'role' in .*, found text, type"):
        rows(path, kind_column="role")


def test_a_missing_column_of_kinds_is_found_in_the_first_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("leaf_st.texts.lines._FIRST", 2)
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a"}, {"text": "b", "role": "query"}, {"text": "c"}])
    assert [row.kind for row in rows(path, kind_column="role")[0]] == ["document", "query", "document"]
    read = read_file(TextsSpec(source=str(path), kind_column="other"), Counter())
    assert next(read).texts == ["a"]
    with pytest.raises(InputError, match="expected a column 'other'"):
        next(read)


@pytest.mark.parametrize("name", ["kind=query", "Kind=query"])
def test_a_folder_states_the_kind_in_any_case(tmp_path, name):
    (tmp_path / name).mkdir()
    write_parquet(tmp_path / name / "a.parquet", [{"text": "a b"}])
    assert rows(tmp_path)[0] == [Text("a b", "query")]


@pytest.mark.parametrize("name", ["kind=Query", "KIND=QUERY", "kind=query "])
def test_a_folder_with_another_spelling_of_its_kind_is_named(tmp_path, name):
    for folder in ("kind=document", f"{name}/lang=en"):
        (tmp_path / folder).mkdir(parents=True)
        write_parquet(tmp_path / folder / "a.parquet", [{"text": "a b"}])
    expected = f"expected folders named {name.partition('=')[0]}=query, found {name}: rename the folder$"
    with pytest.raises(InputError, match=rf"^general\.source .*: {expected}"):
        next(read_file(TextsSpec(source=str(tmp_path)), Counter(), "general"))
    with pytest.raises(InputError, match=rf"^texts\.source .*: {expected}"):
        list(titled_blocks(tmp_path, "text", None))


def test_rows_in_a_folder_of_another_value_are_counted(tmp_path):
    for folder in ("kind=query", "kind=title"):
        (tmp_path / folder).mkdir()
        write_parquet(tmp_path / folder / "a.parquet", [{"text": f"a text of {folder}"}])
    skipped = Counter()
    assert list(read_texts(TextsSpec(source=str(tmp_path)), skipped)) == [Text("a text of kind=query", "query")]
    assert skipped.total() == 1


class _Keys(encryption.KmsClient):
    def wrap_key(self, key_bytes, master_key_identifier):
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key, master_key_identifier):
        return base64.b64decode(wrapped_key)


def test_an_encrypted_column_is_named_and_others_are_read(tmp_path):
    factory, connection = encryption.CryptoFactory(lambda _: _Keys()), encryption.KmsConnectionConfig()
    settings = encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": ["secret"]}, plaintext_footer=True)
    keys = factory.file_encryption_properties(connection, settings)
    table = pa.table({"text": ["cats", "dogs"], "secret": ["a", "b"]})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema, encryption_properties=keys) as writer:
        writer.write_table(table)
    assert rows(tmp_path / "a.parquet")[0] == [Text("cats", "document"), Text("dogs", "document")]
    with pytest.raises(InputError, match="expected columns without encryption among secret"):
        rows(tmp_path / "a.parquet", text_column="secret")


def test_the_text_format_of_postgres_is_refused(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tkind\ncats are\\nnice\tdocument\n\\N\tdocument\n")
    with pytest.raises(InputError, match=r"a\.tsv, line 3: expected quoted text, found \\N, as PostgreSQL"):
        rows(path)


@pytest.mark.parametrize("count", [3, 1200])
def test_the_escapes_of_a_database_are_warned_about_once(tmp_path, caplog, count):
    path = tmp_path / "a.tsv"
    path.write_text("text\n" + "".join(f"cats {number}\\nare\\tnice, and C:\\\\Users\n" for number in range(count)))
    found = [rows(path)[0] for _ in range(2)][1]
    assert found[1].text == r"cats 1\nare\tnice, and C:\\Users"
    (warning,) = caplog.messages
    shown = min(count, 1000)
    assert f"a.tsv: {shown:,} of the first {shown:,} texts have escapes such as \\n, as mysql and PostgreSQL" in warning


@pytest.mark.parametrize(
    "others",
    [r"the mass $\nu$ of $\alpha$", r"C:\new\Users", '"cats\nand dogs"', "plain"],
)
def test_other_backslashes_are_no_escapes_of_a_database(tmp_path, caplog, others):
    path = tmp_path / "a.tsv"
    lines = [r"print('a\n')", *[others] * 30]
    path.write_text("text\n" + "".join(f"{line}\n" for line in lines))
    assert len(rows(path)[0]) == 31
    assert not caplog.messages


@pytest.mark.parametrize("setting", ["text_column", "kind_column"])
def test_lines_of_text_have_no_columns(tmp_path, setting):
    path = tmp_path / "a.txt"
    path.write_text("cats\ndogs\n")
    with pytest.raises(InputError, match=rf"^texts\.{setting}: expected a table, found lines of text in .*a\.txt: rem"):
        rows(path, **{setting: "body"})


class _Failing(io.FileIO):
    """A file on a mount that loses its server when more than ``after`` bytes were read."""

    after = 0

    def readinto(self, buffer):
        if self.tell() >= self.after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(buffer)


@pytest.mark.parametrize("after", [0, 1 << 17])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "txt"])
def test_a_mount_that_fails_while_a_file_is_read_is_named(tmp_path, monkeypatch, ending, after):
    path = tmp_path / f"a.{ending}"
    path.write_text("text\n" + "cats are nice\n" * 30_000)
    if ending == "jsonl":
        write_jsonl(path, [{"text": "cats are nice"}] * 30_000)
    monkeypatch.setattr(_Failing, "after", after)
    monkeypatch.setattr(type(path), "open", lambda self, mode: io.BufferedReader(_Failing(self, mode)))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as raised:
        rows(path)
    assert raised.value.filename == str(path)
    assert cannot_write(raised.value)


def test_the_kind_of_a_folder_replaces_the_kind_of_a_column(tmp_path):
    for kind in ("query", "document"):
        (tmp_path / f"kind={kind}").mkdir()
        write_parquet(tmp_path / f"kind={kind}" / "a.parquet", [{"text": f"a {kind}", "kind": "document"}])
    assert rows(tmp_path)[0] == [Text("a document", "document"), Text("a query", "query")]


def test_a_number_of_thousands_of_digits_and_a_mark_before_a_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "n": ' + "9" * 5000 + '}\n\ufeff{"text": "b"}\n', encoding="utf-8")
    found, skipped = rows(path)
    assert found == [Text("b", "document")]
    assert skipped == {"with an integer of more than 4,300 digits": 1}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t")])
def test_headers_of_csv_files_that_were_joined_are_counted(tmp_path, ending, separator, mark):
    path = tmp_path / f"a.{ending}"
    content = f"id,text,kind\n1,cats,query\n{mark}id,text,kind\n2,dogs,query\n"
    path.write_text(content.replace(",", separator), encoding="utf-8")
    found, skipped = rows(path)
    assert found == [Text("cats", "query"), Text("dogs", "query")]
    assert skipped == {"repeating the header": 1}


def test_joined_csv_files_with_columns_in_another_order_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,text,kind\n1,cats,query\ntext,kind,id\ndogs,query,2\n", encoding="utf-8")
    expected = r"a\.csv, line 3: expected a row, found the names of the columns in another order"
    with pytest.raises(InputError, match=expected):
        rows(path)


@pytest.mark.parametrize("content", ["text\ntext\ncats\n", "id,text\nid,a\n", "id,text,\nid,text,a\n", "id,text\nid\n"])
def test_a_row_with_the_name_of_a_column_is_a_row(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_text(content)
    assert len(rows(path)[0]) == content.count("\n") - 1


def test_json_text_sequences_are_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\x1e{"text": "a"}\n\x1e{"text": "b"}\n')
    assert rows(path)[0] == [Text("a", "document"), Text("b", "document")]


def test_tables_beside_a_beir_folder_are_counted(tmp_path):
    for name in ("corpus", "news"):
        write_parquet(tmp_path / f"{name}.parquet", [{"_id": "1", "text": f"a text of {name}"}])
    found, skipped = rows(tmp_path)
    assert [row.text for row in found] == ["a text of corpus"]
    assert skipped == {"beside the files of a BEIR folder": 1}


def test_rows_that_quotes_merge_are_named_and_quoted_line_ends_are_not(tmp_path, caplog):
    path = tmp_path / "a.tsv"
    path.write_text('id\ttext\n1\t"Cats\n2\tsleep\n3\tlong."\n')
    rows(path)
    assert "a.tsv, line 4: a text in quotes consists of complete rows" in caplog.text
    caplog.clear()
    path.write_text('id\ttext\n1\t"Cats\n\tsleep\nlong."\n2\t"Dogs\tbark."\n')
    assert [text.text for text in rows(path)[0]] == ["Cats\n\tsleep\nlong.", "Dogs\tbark."]
    path.write_text('id\ttext\n1\t"def f(x):\n\treturn x"\n')
    assert [text.text for text in rows(path)[0]] == ["def f(x):\n\treturn x"]
    assert not caplog.messages
