"""Sentences out of documents."""

from collections import Counter

import pytest

from leaf_st.recipe import TextsSpec
from leaf_st.texts.read import read_texts
from leaf_st.texts.sentences import one_sentence

DOCUMENT = "Wings carry the load of flight. Heat weakens their metal quickly! Does cold harm them as well?"


def test_the_sentence_is_one_of_the_documents_and_always_the_same():
    assert one_sentence(DOCUMENT) in DOCUMENT.replace("! ", "!|").replace(". ", ".|").split("|")
    assert one_sentence(DOCUMENT) == one_sentence(DOCUMENT)


def test_every_place_in_a_document_is_chosen_about_equally_often():
    places = [one_sentence(f"{DOCUMENT} This is number {number} of many.") for number in range(400)]
    counts = [sum(place.startswith(word) for place in places) for word in ("Wings", "Heat", "Does", "This")]
    assert sum(counts) == 400
    assert min(counts) > 70


@pytest.mark.parametrize(
    "document", ["", "One sentence of five words.", "Too short. Also. Three words now.", "a " * 200]
)
def test_what_is_no_text_of_several_sentences_gives_none(document):
    assert one_sentence(document) is None


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
