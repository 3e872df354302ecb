"""Chats and transcripts are no files of texts; what only looks like them is read with a warning."""

from collections import Counter

import pytest

from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.texts.read import read_texts

NAMES = ("Ann Lee", "Bob", "Ann Lee", "Zoë")
TIMES = ("0:03", "0:45", "1:10", "12:05")
MINUTES = ("10:03", "10:45", "11:10", "12:05")
TITLE = "Notes of the meeting\n\n"


def written(form, *values):
    return "".join(form.format(*row, words=f"cats sleep {n} times") for n, row in enumerate(zip(*values, strict=True)))


@pytest.mark.parametrize(
    "line",
    [
        "12/31/20, 10:02\u202fPM - Ann: cats",
        "31.12.20, 22:02 - Ann: cats",
        "\u200e[31/12/2020, 22:02:05] Ann: cats",
        "[2020-12-31, 10:02:05 p.m.] Ann: cats",
        "10:22:05\t From  Ann Lee  to  Everyone:\n\tcats",
        "10:22:05 From Ann Lee to Everyone : cats",
        "10:22:05  From Ann Lee to Bob: cats",
        "00:22:05\tAnn Lee:\tcats",
        "[SPEAKER_00]: cats",
        "SPEAKER_01:\ncats",
        "[0.00s -> 3.20s]  cats",
        "0:05\ncats",
        "[00:00:05]\ncats",
        "0:00:01.000,0:00:04.000\ncats\n",
    ],
)
def test_lines_of_chats_and_transcripts_are_no_texts(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"{line}\nand dogs\n{line} again\n")
    refused(tmp_path / "a.txt")


@pytest.mark.parametrize(
    "form",
    [
        "[{}] {}: {{words}}\n",
        "[{} AM] {}: {{words}}\n",
        "{}\t{}\t{{words}}\n",
        "[{}] <{}> {{words}}\n",
        "{}:01 <@{}> {{words}}\n",
        "Dec 31 {}:01 <{}>\t{{words}}\n",
        "{} {}\n{{words}}\n{{words}}\n\n",
        "[{}] {}:\n{{words}}\n",
    ],
)
def test_times_before_speakers_are_doubted(tmp_path, form, caplog):
    names = [name.replace(" ", "_") if "<" in form else name for name in NAMES]
    (tmp_path / "a.txt").write_text(TITLE + written(form.replace("{{", "{").replace("}}", "}"), MINUTES, names))
    doubted(tmp_path / "a.txt", caplog)


@pytest.mark.parametrize(
    "form",
    [
        "{}  {}\n{words}\n\n",
        "{} ({}):\n{words}\n",
        "{}   {}\r\n{words}\r\n",
        "{} — Today at {} AM\n{words}\n{words}\n",
        "{}, [31.12.20 {}]\n{words}\n\n",
        "{} 2020-12-31 {}:05\n{words}\n",
        "[{}] [오후 {}] {words}\n",
        "Speaker 1: {words}\n",
    ],
)
def test_speakers_before_times_are_doubted(tmp_path, form, caplog):
    (tmp_path / "a.txt").write_text(TITLE + written(form, NAMES, TIMES), newline="")
    doubted(tmp_path / "a.txt", caplog)


@pytest.mark.parametrize("form", ["{} {words}\n", "[{}] {words}\n", "({}) - {words}\n", "[{}.12]{words}\n"])
def test_times_of_a_recording_are_doubted(tmp_path, form, caplog):
    (tmp_path / "a.txt").write_text(written(form, TIMES))
    doubted(tmp_path / "a.txt", caplog)


LOG = "[2024-01-05 10:02:05] local.ERROR: full\n2024-01-05 10:02:05 - worker: started\n"


@pytest.mark.parametrize(
    "content",
    [
        "12/31/20, 10:02 - cats\ndogs\n",
        "10:30\n11:30\n12:30\n",
        "at 0:05\ncats\n",
        LOG,
        "10:02:05 worker: started\n10:02:06 worker: ready\n10:02:07 worker: full\n",
        "[10:02:05] INFO: started\n[10:02:06] INFO: ready\n[10:02:07] ERROR: full\n",
        "[10:02:05] Error: started\n[10:02:06] Error: ready\n[10:02:07] Error: full\n",
        "1:43.20 Rudisha\n1:43.88 Amos\n2:01 Aman\ncats\ndogs\n",
        "09:15 From Berlin to Hamburg: delayed\n09:30 From Bern to Thun: delayed\n",
        "10:30 AM\nOpening\n11:00 AM\nKeynote\n",
        "Lunch 12:30\nSoup and bread\nDinner 18:30\nMeat\nSupper 21:00\nCheese\n",
        "12:30 Lunch\n18:30 Dinner\n21:00 Supper\n",
        "Ann: cats\nBob: dogs\nAnn: cats again\nBob: bye\n",
        "User: cats\nAssistant: dogs\nUser: cats again\n",
        "1. cats\n2. dogs\n3. cats again\n",
        "> cats\n> dogs\n- cats\n* dogs\n",
        "Speaker 1 said that cats sleep.\nSpeaker 2 did not agree.\n",
        "The score is 3:45\nMore is known later\nThe score is 2:10\nLess is known now\nWho won at 3:45?\n",
        "[INFO] cats\n[INFO] dogs\n[WARN] cats\n",
        "1:1 In the beginning\n1:2 And the earth\n1:3 And God said\n",
        "12:01 cats\ndogs\nsnow\nrain\n12:02 fog\n",
    ],
)
def test_dates_times_and_names_are_texts(tmp_path, content, caplog):
    (tmp_path / "a.txt").write_text(content)
    assert read(tmp_path / "a.txt") == content.splitlines()
    assert not caplog.records


@pytest.mark.parametrize(
    "content",
    [
        "Lunch 12:30\nSoup\nDinner 18:30\nMeat\nLunch 12:40\nFish\n",
        "00:05 Film\n01:35 News\n06:00 Morning show\n",
        "time\tline\n08:05\tS1\n08:17\tIC8\n",
        "Speaker 1: Dr. Lee\nSpeaker 2: Dr. Smith\nSpeaker 1: on cats\n",
    ],
)
def test_what_looks_like_a_conversation_is_read(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    assert read(tmp_path / "a.txt") == content.splitlines()


def test_a_cell_of_a_table_may_be_a_chat(tmp_path):
    (tmp_path / "a.csv").write_text('text\n"0:00\nHello there\n0:05\ncats sleep"\n')
    assert read(tmp_path / "a.csv") == ["0:00\nHello there\n0:05\ncats sleep"]


def read(path):
    return [row.text for row in read_texts(TextsSpec(source=str(path)), Counter())]


def refused(path):
    with pytest.raises(InputError, match="found a chat or a transcript with times or speakers: write only the words"):
        read(path)


def doubted(path, caplog):
    assert read(path)
    assert f"{path}: each line is read as a text, but most seem to have a time or a speaker" in caplog.text
