"""What most lines of a file have in common and texts seldom have."""

from collections import Counter

import pytest

from leaf_st.recipe import TextsSpec
from leaf_st.texts.line_marks import common_mark
from leaf_st.texts.read import read_texts


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("L{n} +++$+++ u0 +++$+++ cats sleep", "most contain '+++$+++'"),  # Cornell Movie-Dialogs
        ("cats {n} ||| chats {n}", "most contain '|||'"),  # Moses
        ("{n}::cats", "most contain '::'"),
        ("mus@@ ic {n}", "most contain '@@'"),  # BPE of fairseq
        ("\u2581cats \u2581sleep \u2581{n}", "most contain '\u2581'"),  # SentencePiece
        ("{label}:ind Who is {n}?", "most begin with a label such as 'a:ind'"),  # TREC
        ("{label}: Who is {n}?", "most begin with a label such as 'a:'"),
        ("- {label}: cats {n}", "most begin with a label such as 'a:'"),  # YAML
        ("[{label}] cats {n}", "most begin with a label such as '[a]'"),
        ("cats \U0001f525\U0001f525 {n}", "most contain '\U0001f525\U0001f525'"),
        ("{n}|cats", "most contain the same number of '|'"),  # sqlite3
        ("cats {n}; dogs; birds", "most contain the same number of ';'"),
        ("      {n} cats", "most begin with a number"),  # uniq -c
        ("{n}    cats", "most begin with a number"),  # pandas
        ("a/b.txt:{n}:cats", "most begin with a file and the number of a line"),  # grep -n
        ("2024-01-05T10:02:{n:02d}Z cats", "most begin with a date and a time"),
        ("\x1b[1mcats\x1b[0m {n}", "most have colours of a terminal"),
        ("cats 0.1 -2 {n}.5 1e-3 4 5", "most consist of numbers"),  # GloVe
        ("cats{n}/nn sleep/vbz ./.", "most have a tag after each word"),  # Brown
        ("cats_NN sleep_VBZ {n}_CD", "most have a tag after each word"),
        ("(cats, {n})", "most are in brackets"),
        ("'cats {n}',", "most are in quotation marks, with a comma behind"),
        (
            '127.0.0.{n} - - [10/Oct/2000:13:55:36 -0700] "GET /cats HTTP/1.0" 200 2326',
            "most are requests in the log of a web server",
        ),
        (
            "and this line of a book goes on, but its sentences {n:02d} do not end",
            "most seem to be parts of longer sentences",
        ),
    ],
)
def test_labels_and_marks_are_found(form, found):
    lines = [form.format(n=n, label="ab"[n % 2]) for n in range(20)]
    assert common_mark(lines) == found
    assert common_mark([*lines[:16], *["cats"] * 4]) == found
    assert common_mark([*lines[:15], *["cats"] * 5]) is None
    assert common_mark(lines[:9]) is None


@pytest.mark.parametrize(
    "form",
    [
        "{n}. cats",
        "- cats **{n}**",
        "## cats {n}",
        "cats --> dogs {n}",
        "see http://a.org/x?{n}=3&@@b cats",
        "a{n}@b.org, cats",
        '"cats, {n}", he said ("yes!")...',
        "\u732b\u304c{n}\u3001\u5bdd\u308b\u3002\u300c\u306f\u3044\u300d",
        "It costs $ {n}.99 \u2014 really?!",
        "x = {n} + y",
        "user_id order_id {n}",
        "the angle $\\\\alpha_{n}$ is small",
        "cats \u2764\ufe0f {n}",
        "{n}: cats",
        "what is a cat {n}",
        "who was the king of the country before the war of the year {n:04d}?",
        "Cats sleep nearly all day, and nearly all of the night as well: {n:02d} hours.",
        "{n} cats",
    ],
)
def test_usual_texts_have_no_mark(form):
    assert common_mark([form.format(n=n) for n in range(20)]) is None


def test_tags_between_texts_are_found():
    lines = [line for n in range(20) for line in (f"<SPEAKER ID={n}>", "Cats sleep.", "Dogs bark.")]  # Europarl
    assert common_mark(lines) == "many are tags"
    assert common_mark([*lines[:9], *["Cats sleep."] * 51]) is None


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("cats &amp; dogs {n}", "HTML entities such as '&amp;'"),
        ("cats&#39; {n}", "HTML entities such as '&#39;'"),
        ("Cats {n}.\\nDogs", "escape sequences such as '\\\\n'"),
        ("caf\\u00e9 {n}", "escape sequences such as '\\\\u00e9'"),
        ("caf\u00c3\u00a9 {n}", "signs of a wrong encoding such as '\u00c3\u00a9'"),
        ("cats\u00e2\u20ac\u2122 {n}", "signs of a wrong encoding such as '\u00e2\u20ac'"),
        ("mus ##ic {n}", "pieces of words such as '##ic'"),
        ("\\section{{Cats {n}}}", "commands of LaTeX such as '\\\\section{'"),
    ],
)
def test_many_texts_that_are_still_encoded_are_found(form, found):
    lines, usual = [form.format(n=n) for n in range(4)], ["Chats \u00e9gar\u00e9s, \u00e2me $\\nabla$"] * 17
    assert common_mark([*lines, *usual[:16]]) == f"many contain {found}"
    assert common_mark([*lines, *usual]) is None


def test_a_mark_is_a_warning_once(tmp_path, caplog):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"cats {n} ||| chats {n}\n" for n in range(10)))
    for _ in range(2):
        assert len(list(read_texts(TextsSpec(source=str(path)), Counter()))) == 10
    said = f"{path}: each line is read as a text, but most contain '|||': check that each line is one plain text"
    assert caplog.text.count(said) == 1
