import json
import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaf_st.errors import InputError
from leaf_st.recipe import KINDS, TextsSpec
from leaf_st.texts import Text
from leaf_st.texts.check import flaw, left_out
from leaf_st.texts.read import read_texts, require_texts
from leaf_st.texts.sentence import one_sentence


def read(tmp_path, records, **spec):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    skipped = Counter()
    return list(read_texts(TextsSpec(source=str(path), **spec), skipped)), skipped


def test_every_bad_row_is_left_out_and_counted(tmp_path):
    records = [
        {"text": "  leaf\t\n", "kind": "query"},
        {"text": "leaf", "kind": "query"},
        {"text": "leaf", "kind": "document"},
        {"text": " \n"},
        {"text": None},
        {"text": 3},
        {"text": ["leaf"]},
        {"text": "\ud800 leaf"},
        {"text": "le\0af"},
        {"text": "é" * 500_000},
        {"text": "leaf", "kind": "title"},
        {"text": "leaf", "kind": ["query"]},
    ]
    texts, skipped = read(tmp_path, records)
    assert texts == [Text("leaf", "query"), Text("leaf", "document")]
    assert skipped == {
        "duplicate": 1,
        "empty": 1,
        "without a text": 1,
        "not text": 2,
        "not UTF-8": 1,
        "with a NUL character": 1,
        "of 1 MB or more": 1,
        "of a kind other than query and document": 2,
    }


# Spaces and joiners of no width, a byte-order mark, a direction, a soft hyphen, variation selectors, a tag, a control
# character, and a filler of Hangul.
INVISIBLE = [
    "\u200b",
    " \u200b\n\u200d",
    "\ufeff",
    "\u200e",
    "\u00ad",
    "\ufe0f",
    "\U000e0100",
    "\U000e0041",
    "\x07",
    "\u3164",
]


@pytest.mark.parametrize("sentences", [False, True])
def test_texts_without_a_visible_character_are_empty(tmp_path, sentences):
    visible = ["leaf\u200b", "❤\ufe0f", "\u0301a"]
    texts, skipped = read(tmp_path, [{"text": text} for text in visible], sentences=sentences)
    assert [row.text for row in texts if row.kind == "document"] == visible
    assert not skipped
    texts, skipped = read(tmp_path, [{"text": text} for text in [*INVISIBLE, *visible]], sentences=sentences)
    assert [row.text for row in texts if row.kind == "document"] == visible
    assert skipped == {"empty": len(INVISIBLE)}


def test_every_control_and_format_character_is_invisible():
    categories = ("Cc", "Cf", "Zs", "Zl", "Zp")
    characters = [chr(code) for code in range(1, 0xE1000) if unicodedata.category(chr(code)) in categories]
    assert {flaw(character, "query") for character in characters} == {"empty"}


def test_white_space_inside_a_text_stays(tmp_path):
    assert read(tmp_path, [{"text": " a  b\n c "}])[0] == [Text("a  b\n c", "document")]


def test_table_without_kinds_has_that_of_the_spec(tmp_path):
    assert read(tmp_path, [{"text": "leaf"}], kind="query")[0] == [Text("leaf", "query")]


def test_limit_counts_kept_rows_and_reads_no_further(tmp_path):
    records = [{"text": text} for text in ("a", "", "a", "b", "", "c")]
    texts, skipped = read(tmp_path, records, limit=2)
    assert [text.text for text in texts] == ["a", "b"]
    assert skipped == {"empty": 1, "duplicate": 1}


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        ({"query": 1, "document": 2}, "a b c"),
        ({"query": 1}, "a b c e f"),
        ({"document": 0}, "a d"),
        ({"query": None, "document": 1}, "a b d"),
    ],
)
def test_limit_by_kind_keeps_the_first_of_each(tmp_path, limit, kept):
    records = [{"text": text, "kind": "query" if text in "ad" else "document"} for text in "aabcdef"]
    texts, skipped = read(tmp_path, records, limit=limit)
    assert " ".join(text.text for text in texts) == kept
    assert skipped <= Counter(duplicate=1)


def test_limit_by_kind_stops_when_every_kind_has_its_rows(tmp_path):
    records = [{"text": "a", "kind": "query"}, {"text": "b"}, {"text": 3}]
    assert read(tmp_path, records, limit={"query": 1, "document": 1})[1] == {}


def test_no_usable_row_is_an_error_that_names_the_counts(tmp_path):
    with pytest.raises(InputError, match=r"a\.jsonl.*found none \(rows left out: 2 not text, 1 empty\)"):
        read(tmp_path, [{"text": 1}, {"text": ""}, {"text": 2}])


def test_table_without_rows_is_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text\n")
    with pytest.raises(InputError, match=r"rows left out: none"):
        list(read_texts(TextsSpec(source=str(path)), Counter()))


def test_bytes_outside_the_encoding_are_left_out_and_counted_in_plain_words(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"cats\ngr\xf6\xdfe\ndogs\n")
    skipped = Counter()
    assert [row.text for row in read_texts(TextsSpec(source=str(path)), skipped)] == ["cats", "dogs"]
    assert left_out(skipped) == "; left out: 1 not UTF-8"
    assert left_out(Counter()) == ""


def test_default_source_is_the_docstrings_of_this_machine():
    skipped = Counter()
    texts = list(read_texts(TextsSpec(limit=50), skipped))
    assert len(texts) == 50 == len(set(texts))
    assert {text.kind for text in texts} == set(KINDS)
    assert set(skipped) <= {"duplicate"}


values = st.one_of(st.none(), st.integers(), st.binary(), st.text(), st.text(st.characters()))


@given(values, st.one_of(st.sampled_from(KINDS), values))
def test_what_has_no_flaw_can_be_embedded(text, kind):
    if flaw(text, kind) is None:
        assert kind in KINDS
        assert text.strip()
        assert "\0" not in text.strip()
        assert len(text.strip().encode()) < 1_000_000


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.sampled_from(KINDS))
def test_ordinary_text_has_no_flaw(text, kind):
    assert flaw(f"x{text}", kind) is None


DOCUMENT = "Wings carry the load of flight. Heat weakens their metal quickly! Does cold harm them as well?"


def test_sentences_come_as_queries_beside_their_documents(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text(f"{DOCUMENT}\nOnly one sentence is in here.\n")
    rows = list(read_texts(TextsSpec(source=str(path), sentences=True), Counter()))
    assert [(row.kind, row.text) for row in rows] == [
        ("document", DOCUMENT),
        ("query", one_sentence(DOCUMENT)),
        ("document", "Only one sentence is in here."),
    ]


def test_documents_above_the_limit_still_give_their_sentences(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text(f"The first of all documents here.\n{DOCUMENT}\n")
    rows = list(read_texts(TextsSpec(source=str(path), sentences=True, limit={"document": 1}), Counter()))
    assert [row.kind for row in rows] == ["document", "query"]


def test_documents_without_sentences_are_counted_in_a_warning(tmp_path, caplog):
    path = tmp_path / "texts.txt"
    path.write_text("นี่คือประโยคแรก นี่คือประโยคที่สอง\nOnly one sentence is in here.\nชื่อของเขา\n", encoding="utf-8")
    for limit, documents in ((None, 3), (2, 2)):
        rows = list(read_texts(TextsSpec(source=str(path), sentences=True, limit=limit), Counter()))
        assert [row.kind for row in rows] == ["document"] * documents
        [warning] = [record.message for record in caplog.records]
        expected = f"expected documents of several sentences, found sentences in 0 of {documents} documents: "
        assert warning.startswith(f"texts.sentences: {expected}")
        assert "Thai" in warning
        caplog.clear()
    path.write_text(f"{DOCUMENT}\nOnly one sentence is in here.\n")
    list(read_texts(TextsSpec(source=str(path), sentences=True), Counter()))
    assert not caplog.records


def test_texts_without_documents_give_a_warning(tmp_path, caplog):
    path = tmp_path / "texts.txt"
    path.write_text(f"{DOCUMENT}\n")
    list(read_texts(TextsSpec(source=str(path), kind="query", sentences=True), Counter()))
    assert "found sentences in 0 of 0 documents" in caplog.text


@pytest.mark.parametrize(
    ("first", "others", "warnings"),
    [
        (2, 17, []),  # one in ten, or almost
        (2, 18, []),
        (2, 19, ["2 of 21"]),
        (9, 1500, ["9 of 1,000"]),
        (400, 3700, ["400 of 4,100"]),  # the first 1,000 are in a language with sentences
    ],
)
def test_few_documents_with_sentences_give_a_warning(tmp_path, caplog, first, others, warnings):
    path = tmp_path / "texts.txt"
    path.write_text(
        "".join(f"{DOCUMENT} {number}\n" for number in range(first))
        + "".join(f"นี่คือประโยคแรก นี่คือประโยคที่สอง {number}\n" for number in range(others)),
        encoding="utf-8",
    )
    list(read_texts(TextsSpec(source=str(path), sentences=True), Counter()))
    found = [re.search(r"found sentences in (.*) documents:", record.message)[1] for record in caplog.records]
    assert found == warnings


SHARED = [{"text": "leaf", "kind": "query"}, {"text": "tree"}, {"text": "leaf"}, {"text": "tree", "kind": "query"}]


def _with_prompts(tmp_path, prompts):
    path = tmp_path / "shared.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in SHARED))
    skipped = Counter()
    return list(read_texts(TextsSpec(source=str(path)), skipped, prompts=prompts)), skipped


@pytest.mark.parametrize("prompt", ["", "text: "])
def test_with_the_same_prompt_a_text_of_both_kinds_comes_once_as_its_first_kind(tmp_path, prompt):
    texts, skipped = _with_prompts(tmp_path, {"query": prompt, "document": prompt})
    assert texts == [Text("leaf", "query"), Text("tree", "document")]
    assert skipped == {"duplicate": 2}


@pytest.mark.parametrize("prompts", [None, {"query": "q: ", "document": ""}])
def test_with_other_prompts_a_text_of_both_kinds_comes_as_both(tmp_path, prompts):
    texts, skipped = _with_prompts(tmp_path, prompts)
    assert [tuple(text) for text in texts] == [(row["text"], row.get("kind", "document")) for row in SHARED]
    assert not skipped


def test_the_check_of_a_source_reads_only_the_first_usable_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": ""}\n{"text": "leaf"}\n')
    require_texts(TextsSpec(source=str(path)))
    path.write_text('{"text": ""}\n{"text": 3}\n')
    with pytest.raises(InputError, match=r"a\.jsonl.*found none \(rows left out: 1 empty, 1 not text\)"):
        require_texts(TextsSpec(source=str(path)))
    with pytest.raises(InputError, match="no such file"):
        require_texts(TextsSpec(source=str(tmp_path / "none.txt")))
    with pytest.raises(InputError, match=r"general\.source .*no such file"):
        require_texts(TextsSpec(source=str(tmp_path / "none.txt")), "general")


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ("text\nVögel\n".encode("latin-1"), r"1 not UTF-8\): .*; convert the file to UTF-8$"),
        (
            b"text\none, two\n",
            r"1 with more cells .*\): .*in quotes, without a blank before the quotes$",
        ),
        (
            b"text,kind\none,article\n",
            r"1 of a kind other than .*; write query, document or nothing into the column of kinds .*, or rename this",
        ),
    ],
)
def test_a_file_without_usable_texts_names_the_remedy_for_its_rows(tmp_path, content, remedy):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=remedy):
        list(read_texts(TextsSpec(source=str(path)), Counter()))
