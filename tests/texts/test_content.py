import base64
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.texts.content import content_of
from leaf_st.texts.read import read_texts

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ROWS = '{"text": "cats"}\n{"text": "größe"}\n'


def read(path, **spec):
    skipped = Counter()
    return [row.text for row in read_texts(TextsSpec(source=str(path), **spec), skipped)], skipped


def saved(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(name):
    def write(file):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, "x" * 100)

    return saved(write)


def tar(file):
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))


def sqlite():
    with sqlite3.connect(":memory:") as database:
        database.execute("create table texts (text text)")
        return database.serialize()


FOREIGN = {
    "a git-LFS pointer in place of the file: run `git lfs pull`": POINTER,
    "a git-annex pointer": b"/annex/objects/MD5-s4--0123\n",
    "a file compressed with gzip: unpack": gzip.compress(b"cats\n"),
    "a zip archive: unpack": zipped("a.txt"),
    "an Excel workbook (xlsx): save the sheet as csv": zipped("xl/worksheets/sheet1.xml"),
    "a Word document": zipped("word/document.xml"),
    "a PyTorch file (pickle)": zipped("archive/data.pkl"),
    "a tar archive": saved(tar),
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "an HTML page": b"\n<!DOCTYPE html>\n<html><body>Not found</body></html>\n",
    "an XML document": b'<?xml version="1.0"?>\n<Error>AccessDenied</Error>\n',
    "a Python pickle": pickle.dumps(["cats"]),
    "a NumPy array": saved(lambda file: np.save(file, np.ones(3))),
    "an SQLite database": sqlite(),
    "one JSON array: write each element as one line": b'[\n  {"text": "cats"},\n  {"text": "dogs"}\n]\n',
    "JSON over several lines": b'{\n  "text": "cats"\n}\n{\n  "text": "dogs"\n}\n',
    "one JSON object with a list of rows: write each row as one line": b'{\n  "data": [{"text": "cats"}]\n}\n',
}


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".jsonl", ".csv", ".tsv", ".txt", ".json", ""])
@pytest.mark.parametrize("name", FOREIGN)
def test_the_error_names_the_content_and_the_remedy(tmp_path, name, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(FOREIGN[name])
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).startswith(f"texts.source {path}: expected ")
    assert f"found {name}" in str(error.value)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_arrays_on_one_line(tmp_path, mark, end):
    for array in ([{"text": "cats"}, {"text": "dogs"}], ["cats", "dogs"], [{"text": "x" * 100_000}]):
        (tmp_path / "a.jsonl").write_text(mark + json.dumps(array) + end, encoding="utf-8")
        with pytest.raises(InputError, match="expected one JSON object per line, found one JSON array"):
            read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("rows", [2, 20_000])  # within, and longer than, what is looked at
def test_an_object_of_columns_comes_with_a_remedy_that_works(tmp_path, name, rows):
    frame = pandas.DataFrame({"text": [f"cats {row}" for row in range(rows)], "label": 1})
    frame.to_json(tmp_path / name)
    with pytest.raises(InputError, match=r"found one JSON object of lists or objects: .* df\.to_json\(path, orient="):
        read(tmp_path / name)
    (tmp_path / name).write_text(json.dumps({"texts": ["cats", "dogs"]}))
    with pytest.raises(InputError, match=r"found one JSON object of lists or objects: write one object per row"):
        read(tmp_path / name)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    assert read(tmp_path / "a.jsonl") == (frame["text"].tolist(), Counter())


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ({"total": 2, "rows": [{"text": "cats"}, {"text": "dogs"}]}, '.["rows"][]'),
        ({"took": 1, "hits": {"total": {"value": 2}, "hits": [{"_source": {"text": "cats"}}]}}, '.["hits"]["hits"][]'),
        ({"version": "1.1", "columns": [{"name": "text"}], "data": [{"text": "a"}, {"text": "b"}]}, '.["data"][]'),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.txt"])
def test_the_rows_in_an_object_are_to_be_written_as_lines(tmp_path, name, indent, answer, place):
    (tmp_path / name).write_text(json.dumps(answer, indent=indent))
    with pytest.raises(InputError) as error:
        read(tmp_path / name)
    assert str(error.value).endswith(
        f"found one JSON object with a list of rows: write each row as one line, for example with `jq -c '{place}'`"
    )


@pytest.mark.parametrize("column", ["text", "body"])
def test_a_row_may_have_a_list_beside_its_text(tmp_path, column):
    (tmp_path / "a.jsonl").write_text(json.dumps({column: "cats", "links": [{"to": 1}]}))
    assert read(tmp_path / "a.jsonl", text_column=column) == (["cats"], Counter())


def test_tables_under_other_names(tmp_path):
    pq.write_table(pa.table({"text": ["cats"]}), tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"found a parquet file: rename the file so that its name ends in \.parquet"):
        read(tmp_path / "a.jsonl")
    for name in ("a.json", "a.txt", "a.csv", "a.ndjson", "a.parquet"):
        (tmp_path / name).write_text(ROWS, encoding="utf-8")
        with pytest.raises(InputError, match=r"found JSON lines: rename the file so that its name ends in \.jsonl"):
            read(tmp_path / name)
    (tmp_path / "b.parquet").write_text("text\ncats\n")
    with pytest.raises(InputError, match=r"expected a parquet file, found text \('text'\): download"):
        read(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.csv", "id;text\n1;cats\n", "separated by ',', found ';': write the file with ','"),
        ("a.csv", "id\ttext\n1\tcats\n", r"separated by ',', found '\\t': rename .* \.tsv"),
        ("a.tsv", "id,text\n1,cats\n", r"separated by '\\t', found ',': rename .* \.csv"),
        ("a.csv", "sep=,\nid,text\n1,cats\n", r"expected the names of the columns, found sep=,: remove the first line"),
        ("a.csv", "sep=;\nid;text\n1;cats\n", r"expected the names of the columns, found sep=;: remove the first line"),
    ],
)
def test_other_separators_are_named(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=found):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "gb18030"]
)
def test_a_byte_order_mark_announces_the_encoding(tmp_path, encoding):
    mark = "" if encoding in ("utf-8-sig", "utf-16") else "\ufeff"
    csv = "kind,text\r\nquery,cats\r\nquery,größe\r\n"
    for name, text in (
        ("a.jsonl", ROWS),
        ("a.txt", "cats\ngröße\n"),
        ("a.csv", csv),
        ("a.tsv", csv.replace(",", "\t")),
    ):
        (tmp_path / name).write_bytes((mark + text).encode(encoding))
        assert read(tmp_path / name) == (["cats", "größe"], Counter())


def test_a_row_outside_the_announced_encoding_is_counted(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffcats\n".encode("utf-16-le") + b"\x00\xd8x\0\n\0" + "dogs\n".encode("utf-16-le") + b"x")
    assert read(path) == (["cats", "dogs"], Counter({"not UTF-8": 2}))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_without_a_mark_are_named(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes("text\ncats run\ndogs run\n".encode(encoding))
    with pytest.raises(InputError, match=f"found {encoding.upper()} without a byte-order mark: convert"):
        read(path)


@pytest.mark.parametrize("ending", ["txt", "csv", "tsv", "jsonl"])
def test_iso_2022_jp_is_named(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    lines = {"jsonl": '{"text": "猫が寝る"}', "txt": "text,id\n猫が寝る,1"}
    path.write_bytes((lines.get(ending, "text\n猫が寝る") + "\n").encode("iso2022_jp"))
    with pytest.raises(InputError, match=r"found ISO-2022-JP: convert the file to UTF-8.*iconv -f ISO-2022-JP"):
        read(path)


@pytest.mark.parametrize("text", ["\x1b(B\x1b[mcats", "猫 ESC \x1b$B"])
def test_a_text_with_a_character_of_iso_2022_jp_is_a_text(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(f"{text}\n", encoding="utf-8")
    assert read(path)[0] == [text]


@pytest.mark.parametrize(
    "text",
    [
        "PARENT: cats",
        "BZh is a magic",
        "ORCHARD",
        "[1] a reference",
        "[Illustration: cats]",
        "[{}] * 3 shares the dict: why?",
        "<b>bold</b>",
        "<body> onload fires twice in Firefox",
        "<head> or <body>: where do scripts belong?",
        "<poem>",
        "00:00:01,600 is a time",
        "{x}",
        "{} or dict() in Python: which one is faster?",
        '{"a": 1} is a JSON object',
        '{"a": 1}',
    ],
)
def test_texts_that_begin_like_something_else_are_texts(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(f"{text}\ndogs\n")
    assert read(path)[0] == [text, "dogs"]


def test_a_damaged_first_line_is_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    for line in ('{"text": "cats', '{"text": "cats"', '{"text": "cats",', '["cats"]', "cats"):
        path.write_text(f"{line}\n{ROWS}", encoding="utf-8")
        texts, skipped = read(path)
        assert texts == ["cats", "größe"]
        assert [(reason.partition(" but ")[0], count) for reason, count in skipped.items()] == [
            ("not a JSON object", 1)
        ]


def test_lines_without_the_column_are_counted_wherever_they_are(tmp_path):
    path = tmp_path / "a.jsonl"
    for place in range(3):
        lines = ROWS.splitlines()
        lines.insert(place, '{"version": 1}')
        path.write_text("\n".join(lines), encoding="utf-8")
        assert read(path) == (["cats", "größe"], Counter({"without a text": 1}))
    with pytest.raises(InputError, match=r"expected a column 'body' in .*a\.jsonl, found text, version: name"):
        read(path, text_column="body")


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        ('id,text\n0,"cats, and dogs"\n1,snow\n', "csv"),
        ('text,label\r\n"two\nlines",1\r\n"a ""quoted"" word",0\r\n', "csv"),
        ("_id\ttitle\ttext\n1\tcats\tCats sleep.\n\n2\tdogs\tDogs bark.\n", "tsv"),
        ("\ufeffquery,pos\n" + "what is it,a cat\n" * 9000, "csv"),  # longer than what is looked at
        ('id,text\n0,"' + "long " * 20000 + '"\n', None),  # the header alone is no proof
    ],
)
def test_a_table_with_a_header_is_no_file_of_texts(tmp_path, content, ending):
    (tmp_path / "a.txt").write_text(content, newline="")
    if ending is None:
        read(tmp_path / "a.txt")
        return
    with pytest.raises(
        InputError, match=rf"a\.txt: expected one text per line, found a table of .*: rename .*\.{ending}"
    ):
        read(tmp_path / "a.txt")
    (tmp_path / "a.txt").rename(tmp_path / f"a.{ending}")
    assert read(tmp_path / f"a.{ending}", text_column="query" if "query" in content else "text")[0]


@pytest.mark.parametrize(
    "content",
    [
        "cats, dogs\nsnow, rain\n",
        "text, id\nand a text, with two commas, here\n",
        "In the text,however\nthe id,too\n",
        'id,text\nan unclosed "quote, here\n"so',
        "text\nid\n",
        "id,text\n",
        "title,title\ncats,dogs\n",
        "cats; dogs\nsnow; rain\n",
        "a text\twith a tab\nand another\tone\n",
    ],
)
def test_texts_with_commas_and_tabs_are_texts(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert read(tmp_path / "a.txt")[0] == list(dict.fromkeys(content.splitlines()))


@pytest.mark.parametrize("separator", [";", "|"])
def test_a_table_with_other_separators_is_no_file_of_texts(tmp_path, separator):
    rows = (("id", "text", "label"), ("1", "Hello, there", "0"), ("2", "cats", "1"))
    (tmp_path / "a.txt").write_text("\n".join(map(separator.join, rows)))
    found = rf"found a table of values separated by '\{separator}' with a header: write the table as parquet or csv"
    with pytest.raises(InputError, match=found):
        read(tmp_path / "a.txt")


SRT = "1\n00:00:01,600 --> 00:00:04,200\nHello there\n\n2\n00:00:05,000 --> 00:00:06,000\ncats\n"
VTT = "WEBVTT - a talk\nKind: captions\n\n00:01.000 --> 00:04.000 align:start\nHello there\n"


WHISPER = "[00:00.000 --> 00:05.000]  Hello there\n[00:05.000 --> 00:09.500]  cats\n"


TEAMS = "0:0:0.0 --> 0:0:2.450\nAnn\nHello there\n"


@pytest.mark.parametrize("content", [SRT, SRT.replace("\n", "\r\n"), VTT, WHISPER, TEAMS])
@pytest.mark.parametrize("ending", ["txt", "srt"])
def test_times_are_no_texts(tmp_path, content, ending):
    path = tmp_path / f"a.{ending}"
    path.write_text(content, newline="")
    with pytest.raises(InputError, match="found subtitles with times: write only the spoken texts, one per line"):
        read(path)
    (tmp_path / "a.csv").write_text(f'text\n"{content}"\n', newline="")
    assert read(tmp_path / "a.csv")[0] == [content.strip()]


@pytest.mark.parametrize(
    "content",
    [
        "<DOC>\n<DOCNO> FT911-3 </DOCNO>\n<TEXT>\ncats\n</TEXT>\n</DOC>\n",
        '<doc id="12" url="https://example.org" title="Cats">\r\nCats\r\n\r\nCats sleep.\r\n</doc>\r\n',
        '<corpus>\n  <doc id="1">\n    cats\n' + "  </doc>\n" * 10_000,  # longer than what is looked at
    ],
)
def test_tags_are_no_texts(tmp_path, content):
    (tmp_path / "a.txt").write_text(content, newline="")
    with pytest.raises(InputError, match="found text between tags, as in XML and SGML: write only the texts"):
        read(tmp_path / "a.txt")


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl"])
def test_bytes_of_a_format_without_a_magic_are_named(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(lzma.compress(np.random.default_rng(0).bytes(20_000).hex().encode(), format=lzma.FORMAT_ALONE))
    with pytest.raises(InputError, match="found binary data: unpack or convert the file"):
        read(path)


def test_a_file_of_nul_bytes_is_no_utf_32(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(bytes(4096))
    with pytest.raises(InputError, match="found NUL bytes, as an interrupted copy leaves them: copy or create"):
        read(path)


def test_rows_of_another_form_come_with_a_remedy(tmp_path):
    array = tmp_path / "a.jsonl"
    array.write_text('{"text": "a"},\n{"text": "b"},\n')
    with pytest.raises(InputError, match=r"2 not a JSON object.*; write one JSON object per line"):
        read(array)
    array.write_text('{"text": "a", "n": ' + "9" * 5000 + "}\n" + "[" * 100_000)
    with pytest.raises(InputError, match=r"1 with an integer of .* 1 nested too .*; write such .*; write the texts w"):
        read(array)
    lists = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [["a"], ["b"]]}), lists)
    with pytest.raises(InputError, match=r"2 not text.*; name a column of strings"):
        read(lists)


def test_a_column_of_json_is_no_column_of_texts(tmp_path):
    path = tmp_path / "a.parquet"
    column = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['"one"', '"two"']))
    pq.write_table(pa.table({"text": column}), path)
    with pytest.raises(InputError, match=r"column 'text', found JSON, .*: write the column as text, in SQL with ->>"):
        read(path)


@pytest.mark.parametrize("content", ["(1) He may (Art. 5)\n(2) cats\n(3) no\n(4) (so)\n", "My notes\n- - -\ncats\n"])
def test_numbers_and_rules_are_texts(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert read(tmp_path / "a.txt")[0] == content.splitlines()


@pytest.mark.parametrize("content", ["a | b\nc | d\n", "cats\n-----\ndogs\n", "git diff --stat | head\ncats -- x\n"])
def test_bars_and_rules_are_texts(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert read(tmp_path / "a.txt")[0] == content.splitlines()


def test_text_in_place_of_a_table_is_shown(tmp_path):
    (tmp_path / "a.parquet").write_text("Entry not found")
    found = r"expected a parquet file, found text \('Entry not found'\): download the file again, or, if the text is"
    with pytest.raises(InputError, match=found):
        read(tmp_path / "a.parquet")


CONFLICT = "\ncats\n<<<<<<< HEAD\ndogs\n{base}=======\nsnow\n>>>>>>> main\nrain\n"


@pytest.mark.parametrize("base", ["", "||||||| 1a2b3c\nfog\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_git_conflict_is_named_with_its_line(tmp_path, base, end):
    (tmp_path / "a.txt").write_text(CONFLICT.format(base=base).replace("\n", end), newline="")
    with pytest.raises(InputError, match=r"found a git conflict \(<<<<<<<\) in line 3: resolve the conflict, and"):
        read(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "content",
    [
        "Cats\n=======\nCats sleep.\n",
        "<<<<<<< is how a conflict begins\ndogs\n",
        ">>>>>>> a quote\n=======\n<<<<<<< HEAD\n",
        "<<<<<<<< eight\n========\n>>>>>>>> eight\n",
    ],
)
def test_underlines_and_quotes_are_no_conflict(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert read(tmp_path / "a.txt")[0] == content.splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "a@b.org Sat Jan  3 01:05:34 1996",
        "MAILER-DAEMON Fri Jul 08 12:08:34 2011",
        "1@xxx Mon Mar 06 10:23:13 +0000 2023",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mailbox_is_no_file_of_texts(tmp_path, line, end):
    path = tmp_path / "a.txt"
    path.write_text(f"From {line}\nMessage-ID: <1>\nSubject: cats\n\nCats sleep.\n".replace("\n", end), newline="")
    with pytest.raises(InputError, match=r"found mails \(mbox\): write only the texts of the mails, one per line"):
        read(path)


@pytest.mark.parametrize("content", ["From far away Mon Jan\ncats\n", "From a@b.org Sat Jan  3 01:05:34 1996\ncats\n"])
def test_a_text_that_begins_with_from_is_a_text(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert read(tmp_path / "a.txt")[0] == content.splitlines()


def test_json_strings_are_no_texts_and_quoted_sentences_are(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text('"a \\"cat\\""\n"a dog"\n"a caf\\u00e9"\n')
    with pytest.raises(InputError, match="found JSON strings, with quotes and escapes: write the texts without them"):
        read(path)
    path.write_text('"A cat."\n"A dog."\n"A bird."\n')
    assert content_of(path) is None


def test_a_web_archive_is_no_file_of_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("WARC/1.0\r\nWARC-Type: warcinfo\r\n\r\ntext\r\n")
    with pytest.raises(InputError, match=r"found a web archive \(WARC\): write only the texts of its records"):
        read(path)


DRAWN = "a drawn table: write the table as parquet or csv"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("# sent_id = 1\n# text = Cats.\n1\tCats\tcat\tNOUN\t_\t_\t0\troot\t_\t_\n\n", r"annotated words \(CoNLL-U\)"),
        ("1-2\tdel\t_\t_\t_\t_\t_\t_\t_\t_\n1\tde\tde\tADP\t_\t_\t3\tcase\t_\t_\n", r"annotated words \(CoNLL-U\)"),
        ("-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\n", r"words with tags"),
        ("Cats\tB-MISC\nsleep\tO\n.\tO\n", r"words with tags \(CoNLL\)"),
        (" id |    text    \n----+------------\n  1 | Cats sleep.\n(1 row)\n", DRAWN),  # psql
        ("+----+-------------+\n| id | text        |\n+----+-------------+\n|  1 | Cats sleep. |\n", DRAWN),  # mysql
        ("| id | text |\r\n|---:|:-----|\r\n| 1 | Cats sleep. |\r\n", DRAWN),
        ("┌───────┬─────────────┐\n│  id   │    text     │\n├───────┼─────────────┤\n│     1 │ Cats sleep. │\n", DRAWN),
        ("__label__cats __label__pets Cats sleep.\n", r"texts after labels \(fastText\)"),
        ("{'text': 'Cats sleep.'}\n", "Python dictionaries"),
        ('data: {"text": "Cats"}\n\ndata: [DONE]\n', r"events of a server \(SSE\)"),
        ("TY  - JOUR\nTI  - Cats.\nER  - \n", "records of RIS"),
        ("FN Clarivate Analytics Web of Science\nVR 1.0\nPT J\nTI Cats\nER\n", "records of Web of Science"),
        ("%0 Journal Article\n%T Cats\n", "records of EndNote"),
        ("==> a.txt <==\ncats\n\n==> b.txt <==\n", r"the beginnings of several files \(head\)"),
        ("HTTP/2 200\r\ncontent-type: text/plain\r\n\r\ncats\r\n", "an answer of a web server"),
        (base64.encodebytes(b"Cats sleep all day. " * 20).decode(), "data in base64"),
        (base64.b64encode(b"Cats sleep all day. " * 20).decode(), "data in base64"),
        ("id  text\n--  ----\n1   Cats sleep.\n", "a table in columns"),  # sqlite3
        (".I 1\n.T\ncats\n.W\nCats sleep.\n", "records of SMART"),
        ("b'cats'\nb\"dogs\"\nb'snow'\n", "bytes of Python"),
        ("('cats',)\n('dogs',)\n(1, 'snow')\n", "tuples of Python"),
        ("PMID- 123\nTI  - Cats.\n", "records of MEDLINE"),
        ("@article{cats2020,\n  title = {Cats}\n}\n", "records of BibTeX"),
        ('# German\nmsgid ""\nmsgstr ""\n', "messages of gettext"),
        ("--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n", "an SQL dump"),
        ("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", "an SQL dump"),
        ("-- people\nCREATE TABLE people (\n  id int\n);\n", "an SQL dump"),
        ("/*!40101 SET NAMES utf8 */;\nINSERT INTO `t` VALUES (1);\n", "an SQL dump"),
        ("-----BEGIN PGP MESSAGE-----\n\nhQ\n", "an encrypted message, a key or a certificate"),
        ("%!PS-Adobe-3.0\n", "a PostScript document"),
    ],
)
def test_records_of_other_programs_are_no_texts(tmp_path, content, found):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(InputError, match=f"expected one text per line, found {found}"):
        read(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "line",
    [
        "1\tcats\tdogs",
        "__init__ is a method",
        "{'a', 'b'} is a set of {",
        "data: a word of Latin",
        "@anna {see below}, cats",
        "SET the table; then eat",
        "CREATE TABLE t (id int);",
        "DROP TABLE t;",
        "INSERT INTO is a statement of SQL",
        "-----BEGIN-----",
        "# 1 on the list",
    ],
)
def test_a_text_that_begins_like_a_record_is_a_text(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"{line}\nCats sleep.\n")
    assert read(tmp_path / "a.txt")[0] == [line, "Cats sleep."]


def test_names_that_end_like_tags_are_texts(tmp_path):
    lines = ["Vitamin B-1", "Vitamin B-6", "Vitamin B-12", "Visa L-one"]
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in lines))
    assert read(tmp_path / "a.txt")[0] == lines


def test_a_table_of_tabs_without_names_is_no_file_of_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{number}\tcats and {number} dogs\n" for number in range(10)))
    with pytest.raises(InputError, match=r"found a table with a tab between the cells: rename the file to \.tsv, with"):
        read(path)
    path.write_text("id\ttext\n" + "".join(f"{number}\tcats and {number} dogs\n" for number in range(20)))
    with pytest.raises(InputError, match="found a table of tab-separated values with a header: rename the file"):
        read(path)
    path.write_text("".join(f"cats{number % 2 * chr(9)} and {number} dogs\n" for number in range(10)))
    assert content_of(path) is None
