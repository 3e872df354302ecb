# ruff: noqa: RUF001  (sentences in other scripts)
import asyncio
import email
import re
from pathlib import Path

import pytest

from leaf_st.texts.docstrings import documented_functions
from leaf_st.texts.sentence import one_sentence, sentences_of

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


@pytest.mark.parametrize(
    "sentences",
    [
        ["Это первое предложение текста.", "Здесь стоит ещё одно предложение!", "Ёж тоже живёт в лесу?"],
        [
            "Größe zählt nicht sehr viel.",
            "Ärzte sagen das auch oft.",
            "„Über“ ist auch ein Wort.",
            "»Öl« ist auch eines.",
        ],
        ["Αυτή είναι η πρώτη πρόταση.", "Ποια είναι η δεύτερη πρόταση;", "Έτσι λέει ο τρίτος άνθρωπος."],
        ["هذه هي الجملة الأولى هنا.", "هل هذه هي الجملة الثانية؟", "نعم، هذه هي الجملة الثالثة."],
        ["یہ پہلا جملہ ہے یہاں۔", "یہ دوسرا جملہ ہے یہاں۔"],
        ["यह पहला वाक्य है यहाँ।", "यह दूसरा वाक्य है यहाँ।"],
        ["ይህ የመጀመሪያው ዓረፍተ ነገር ነው።", "ይህ ሁለተኛው ዓረፍተ ነገር ነው።"],
        ["이것은 첫 번째 문장 입니다.", "이것은 두 번째 문장 입니다."],
        ["ეს არის პირველი წინადადება აქ.", "ეს არის მეორე წინადადება აქ."],
        ["¿Qué hora es en Madrid?", "¡No lo sé, la verdad!", "Él no lo sabe tampoco."],
    ],
)
def test_sentences_of_any_script_are_found(sentences):
    assert sentences_of(" ".join(sentences)) == sentences
    assert one_sentence(" ".join(sentences)) in sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["今天天气很好。", "我们一起去公园散步吧！", "你觉得怎么样？"],
        ["你今天过得好吗?", "我今天过得很好."],
        ["これは文です。", "もう一つの文です。"],
        ["「今日はとても寒いですね。」", "「明日も寒いでしょうか。」"],
        ["第３．５版の説明です．", "次の説明を読む．"],
        ["នេះគឺជាប្រយោគទីមួយ។", "នេះគឺជាប្រយោគទីពីរ។"],
    ],
)
def test_sentences_of_scripts_without_spaces_are_found(sentences):
    assert sentences_of("".join(sentences)) == sentences


@pytest.mark.parametrize(
    "document",
    [
        "Er kam z. B. gestern nicht. ärzte sagen das auch oft.",  # no sentence begins with a small letter
        "你好。谢谢。再见。",  # too short
        "字" * 200 + "。" + "文" * 200 + "。",  # too long
        "The first is α; The second of them is β.",  # a semicolon after one letter is no Greek question
    ],
)
def test_what_is_no_border_of_sentences_splits_nothing(document):
    assert sentences_of(document) == []


def test_english_text_has_the_sentences_of_earlier_versions():
    earlier = re.compile(r"(?<=[.!?])\s+(?=[A-Z\d\"'(])")
    roots = [Path(package.__path__[0]) for package in (asyncio, email)]
    bodies = [item.body for item in documented_functions(roots) if item.body]
    assert len(bodies) > 200
    for body in bodies:
        parts = [part for part in earlier.split(body) if 4 <= len(part.split()) <= 60]
        assert sentences_of(body) == (parts if len(parts) > 1 else [])
