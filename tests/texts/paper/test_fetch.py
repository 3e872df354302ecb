"""The paper's sources, from a hub on loopback to local files."""

import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import forked
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fetching import fetch_each
from hub import COMMIT, run_python, serve
from hub_sources import ROWS, make_sources
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from leaf_st.errors import InputError
from leaf_st.models.tokens import copy_tokenizer
from leaf_st.recipe import PAPER, TextsSpec
from leaf_st.texts.cut import Cutter
from leaf_st.texts.paper.fetch import closed_licences, fetch, format_sources, provenance, selected_sources
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.texts.read import read_texts

RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("sources"))


def _fetch(hub, folder, student, names, *more):
    return forked.run(fetch_each, hub.url, folder, student, names, *more)


@pytest.fixture(scope="module")
def fetched(published, tiny_teacher_folder, tmp_path_factory):
    """Everything, through a connection that drops once, in the middle of a file."""
    folder = tmp_path_factory.mktemp("fetched") / "texts"
    with serve({}, published) as hub:
        hub.cut_once.add("2019_0000.parquet")
        done = _fetch(hub, folder, tiny_teacher_folder, ["+".join(SOURCES)])
        assert not hub.cut_once
    assert done.returncode == 0, done.stderr
    assert "InputError" not in done.stdout, done.stdout
    return folder


def _texts(folder, name):
    return [
        text for part in sorted((folder / name).glob("*.parquet")) for text in pq.read_table(part)["text"].to_pylist()
    ]


def test_each_source_gives_its_texts(fetched, tiny_teacher_folder):
    rows = {name: _texts(fetched, name) for name in SOURCES}
    tokenizer = AutoTokenizer.from_pretrained(tiny_teacher_folder)
    assert rows["bert-tokens"] == sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    assert len(rows["fineweb"]) == 2 * ROWS
    assert len(rows["cc-news"]) == 9 * ROWS // 2  # the others are not English
    assert len(rows["vocabulary"]) == 2 * ROWS
    assert len(rows["amazon-qa"]) == ROWS  # one question comes twice
    assert len(rows["lotte"]) == 10 * 2 * 4
    assert rows["msmarco"] == [f"search number {row} of the search texts" for row in range(9)]
    assert len(rows["pubmedqa"]) == 2 * ROWS
    assert rows["triviaqa"][-1] == f"trivia number {ROWS - 1} of the trivia texts"


def test_titles_stand_before_their_articles(fetched):
    news = _texts(fetched, "cc-news")
    assert "headline number 1 of the headline texts: article of 2016" in " ".join(news)
    assert sum(text.startswith("article of 2024 number 0") for text in news) == 1  # it has no title


def test_documents_are_cut_where_the_student_stops_reading(fetched, tiny_teacher_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_teacher_folder)
    page = next(text for text in _texts(fetched, "fineweb") if text.startswith("web page 1 number 7 "))
    whole = "web page 1 number 7 of the web page 1 texts" + " and so on" * 500
    assert whole.startswith(page)
    assert tokenizer(page)["input_ids"] == tokenizer(whole, truncation=True, max_length=64)["input_ids"]


def test_a_sample_comes_from_all_over(fetched):
    numbers = [int(re.search(r"number (\d+)", text)[1]) for text in _texts(fetched, "fineweb")]
    groups = [number // 8 for number in numbers[::8]]
    assert sorted(numbers) == sorted(2 * list(range(ROWS)))
    assert groups != sorted(groups)


def test_what_was_fetched_is_read_as_texts(fetched):
    skipped = Counter()
    rows = list(read_texts(TextsSpec(source=str(fetched)), skipped))
    kinds = Counter(row.kind for row in rows)
    assert kinds["query"] == ROWS + 80 + 9 + 2 * ROWS + ROWS


# Sampled; of several files; compressed, and with a text that comes twice.
@pytest.mark.parametrize(("name", "parts"), [("cc-news", 4), ("pubmedqa", 1), ("amazon-qa", 1)])
def test_a_kill_loses_no_more_than_a_part(published, tiny_teacher_folder, fetched, tmp_path, name, parts):
    folder = tmp_path / "texts"
    with serve({}, published) as hub:
        killed = _fetch(hub, folder, tiny_teacher_folder, [name], 30, parts)
        before = {path.name: path.read_bytes() for path in (folder / name).glob("*.parquet")}
        again = _fetch(hub, folder, tiny_teacher_folder, [name], 30)
    assert killed.returncode == -9
    assert len(before) == parts
    assert again.returncode == 0, again.stderr
    assert "InputError" not in again.stdout
    assert {part: (folder / name / part).read_bytes() for part in before} == before
    assert _texts(folder, name) == _texts(fetched, name)


def test_datasets_that_are_not_as_declared(tiny_teacher_folder, tmp_path):
    published = make_sources(tmp_path / "sources")
    trivia = published["sentence-transformers/trivia-qa"] / "pair" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(trivia).rename_columns(["question", "answer"]), trivia)
    without_end = published["qiaojin/PubMedQA"] / "pqa_artificial" / "train-00001-of-00002.parquet"
    without_end.write_bytes(without_end.read_bytes()[:-200] + b"PAR1")
    damaged = published["MongoDB/english-words-definitions"] / "data" / "train-00000-of-00001.parquet"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    (published["mteb/msmarco"] / "qrels" / "train.jsonl").write_text('{"query": "1"}\n')
    del published["embedding-data/Amazon-QA"]
    with serve({}, published) as hub:
        names = ["triviaqa", "pubmedqa", "vocabulary", "msmarco", "amazon-qa"]
        done = _fetch(hub, tmp_path / "texts", tiny_teacher_folder, names)
    trivia_qa, pubmed_qa, vocabulary, ms_marco, amazon_qa = done.stdout.splitlines()
    assert trivia_qa.startswith("InputError source triviaqa: expected the columns query in ")
    assert "sentence-transformers/trivia-qa (pair), found question, answer: the data set has changed" in trivia_qa
    assert pubmed_qa.startswith("InputError source pubmedqa cannot be read from the hub (")
    assert vocabulary.startswith("InputError source vocabulary cannot be read from the hub (")
    assert "expected the columns query-id in mteb/msmarco (default), found query:" in ms_marco
    assert amazon_qa.startswith("InputError source amazon-qa cannot be read from the hub (")
    assert "add triviaqa to texts.leave_out" in trivia_qa


def test_all_datasets_are_looked_into_before_the_first_is_read(published, tiny_teacher_folder, tmp_path):
    changed = dict(published) | make_sources(tmp_path / "sources")
    trivia = changed["sentence-transformers/trivia-qa"] / "pair" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(trivia).rename_columns(["question", "answer"]), trivia)
    with serve({}, changed) as hub:
        done = _fetch(hub, tmp_path / "texts", tiny_teacher_folder, ["vocabulary+pubmedqa+triviaqa"])
    assert done.stdout.startswith("InputError source triviaqa: "), done.stderr
    assert not list((tmp_path / "texts").rglob("*.parquet"))


def test_columns_hold_texts_and_sources_are_not_empty(tiny_teacher_folder, tmp_path):
    published = make_sources(tmp_path / "sources")
    trivia = published["sentence-transformers/trivia-qa"] / "pair" / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"query": [1, 2], "answer": ["one", "two"]}), trivia)
    words = published["MongoDB/english-words-definitions"] / "data" / "train-00000-of-00001.parquet"
    pq.write_table(pa.table({"definitions": ['["a meaning"]']}), words)
    (published["mteb/msmarco"] / "qrels" / "train.jsonl").write_text('{"query-id": "none", "corpus-id": "7"}\n')
    card = published["HuggingFaceFW/fineweb"] / "README.md"
    card.write_text(card.read_text().replace("train", "test"))
    with serve({}, published) as hub:
        names = ["triviaqa", "vocabulary", "msmarco", "fineweb"]
        done = _fetch(hub, tmp_path / "texts", tiny_teacher_folder, names)
    trivia_qa, vocabulary, ms_marco, fine_web = done.stdout.splitlines()
    assert "expected a text in query of sentence-transformers/trivia-qa (pair), found 1:" in trivia_qa
    assert "expected a list of texts in definitions of MongoDB/english-words-definitions (default)" in vocabulary
    assert """found '["a meaning"]':""" in vocabulary
    assert "source msmarco: expected 502,939 texts, found none" in ms_marco
    assert "the data set has the splits test, expected train" in fine_web


def test_a_part_that_is_lost_is_named(fetched, tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(fetched, tmp_path / "texts")
    (folder / "triviaqa" / "00000.parquet").unlink()
    others = tuple(name for name in SOURCES if name != "triviaqa")
    with pytest.raises(InputError, match=r"triviaqa/00000\.parquet is missing: delete "):
        provenance(TextsSpec(source=PAPER, leave_out=others), folder)


def test_a_dataset_is_read_to_its_end_at_the_commit_where_it_was_begun(published, tiny_teacher_folder, tmp_path):
    folder, names = tmp_path / "texts", ["pubmedqa"]
    with serve({}, published) as hub:
        _fetch(hub, folder, tiny_teacher_folder, names, 30, 1)
        hub.newest = "f" * 40
        again = _fetch(hub, folder, tiny_teacher_folder, names, 30)
        asked = set(hub.commits[-2:])
        hub.downloads.clear()
        _fetch(hub, folder, tiny_teacher_folder, names)
    assert not hub.downloads  # all was there
    assert again.returncode == 0, again.stderr
    assert len(_texts(folder, "pubmedqa")) == 2 * ROWS
    others = tuple(name for name in SOURCES if name not in names)
    dataset = {"dataset": "qiaojin/PubMedQA", "commit": COMMIT, "licence": "mit"}
    assert provenance(TextsSpec(source=PAPER, leave_out=others), folder) == {"pubmedqa": dataset}
    assert asked == {COMMIT}


def test_a_hub_that_cannot_be_reached(tiny_teacher_folder, tmp_path):
    with serve({}) as hub:
        pass
    done = _fetch(hub, tmp_path / "texts", tiny_teacher_folder, ["triviaqa"])  # the server is stopped by now
    assert "InputError source triviaqa cannot be read from the hub (" in done.stdout, done.stderr
    assert not hub.downloads


def test_sources_are_left_out_by_name():
    spec = TextsSpec(source=PAPER, leave_out=("msmarco", "cc-news"))
    assert selected_sources(spec) == [name for name in SOURCES if name not in ("msmarco", "cc-news")]
    assert closed_licences(spec) == "triviaqa: not stated"
    assert provenance(spec, Path("nowhere"))["fineweb"]["licence"] == "odc-by"
    with pytest.raises(InputError, match=r"texts\.leave_out: expected some of fineweb, .*, found 'msmacro'"):
        selected_sources(TextsSpec(source=PAPER, leave_out="msmacro"))
    with pytest.raises(InputError, match="at least one remaining source"):
        selected_sources(TextsSpec(source=PAPER, leave_out=tuple(SOURCES)))


def test_the_table_stands_beside_the_paper_s():
    lines = format_sources({"fineweb": 2_999_999, "msmarco": 502_939}).splitlines()
    assert lines[1].split() == ["fineweb", "document", "odc-by", "2,999,999", "3,000,000"]
    assert "(not open)" in lines[2]
    assert lines[3].split() == ["total", "3,502,938", "3,502,939"]
    assert sum(source.expected for source in SOURCES.values()) == 6_585_325  # about 200k batches of 32 (paper 2.2)


def test_sources_far_below_their_count_are_called_out():
    rows = {"fineweb": 2_999_999, "lotte": 27_000 * 9 // 10, "vocabulary": 400_000, "msmarco": 9}
    last = format_sources(rows).splitlines()[-1]
    assert last.startswith("far fewer texts than in the paper: vocabulary (50.0%), msmarco (0.0%);")
    asked = format_sources(rows, per_source=500_000).splitlines()  # fewer than the paper has of these two
    assert asked[-1].startswith("total ")
    assert "paper: msmarco (0.0%);" in format_sources(rows, per_source=600_000)


def test_what_was_fetched_of_a_source_that_is_left_out_is_not_read(fetched, tiny_student):
    with pytest.raises(
        InputError, match=r"expected no texts of triviaqa, found some in .*triviaqa: delete that folder"
    ):
        fetch(TextsSpec(source=PAPER, leave_out="triviaqa"), fetched, Cutter(copy_tokenizer(tiny_student), 64))


def test_texts_that_were_cut_for_a_shorter_student_are_refused(fetched, tiny_student, tmp_path):
    folder, tokenizer = shutil.copytree(fetched, tmp_path / "texts"), copy_tokenizer(tiny_student)
    rows = fetch(TextsSpec(source=PAPER), folder, Cutter(tokenizer, 32))  # the run cuts them again
    for length, expected in ((65, "texts cut to at least 65 tokens"), (None, "complete texts")):
        with pytest.raises(InputError, match=rf"fineweb: expected {expected}, .* cut to 64: delete {folder}"):
            fetch(TextsSpec(source=PAPER), folder, Cutter(tokenizer, length))
    for path in folder.glob("*/progress.json"):  # as an earlier version wrote it
        known = json.loads(path.read_text())
        assert known.pop("cut_at") == 64
        path.write_text(json.dumps(known))
    assert fetch(TextsSpec(source=PAPER), folder, Cutter(tokenizer, 65)) == rows


def test_a_download_that_a_shorter_student_resumes_has_the_shorter_length(published, tiny_teacher_folder, tmp_path):
    folder, names = tmp_path / "texts", ["pubmedqa"]
    progress = folder / "pubmedqa" / "progress.json"
    with serve({}, published) as hub:
        _fetch(hub, folder, tiny_teacher_folder, names, 30, 1)
        known = json.loads(progress.read_text())
        progress.write_text(json.dumps({**known, "cut_at": 512}))
        again = _fetch(hub, folder, tiny_teacher_folder, names, 30)
    assert again.returncode == 0, again.stderr
    assert (known["done"], json.loads(progress.read_text())["cut_at"]) == (False, 64)


def test_columns_that_are_not_wanted_are_not_fetched(tiny_teacher_folder, tmp_path):
    published = make_sources(tmp_path / "sources")
    file = published["qiaojin/PubMedQA"] / "pqa_artificial" / "train-00000-of-00002.parquet"
    context = [random.Random(row).randbytes(1 << 20).hex() for row in range(20)]
    table = pa.table({"question": ["short question"] * 20, "context": context})
    pq.write_table(table, file, compression="none")
    with serve({}, published) as hub:
        done = _fetch(hub, tmp_path / "texts", tiny_teacher_folder, ["pubmedqa"])
    assert "InputError" not in done.stdout, done.stdout
    assert _texts(tmp_path / "texts", "pubmedqa").count("short question") == 20
    assert hub.sent[file.relative_to(published["qiaojin/PubMedQA"]).as_posix()] < file.stat().st_size / 3


_RUN_SMALL = """
import sys
from contextlib import redirect_stdout
from pathlib import Path
from leaf_st.cli.main import main
for recipe in map(Path, sys.argv[1:]):
    with Path(f"{recipe.stem}.txt").open("w") as file, redirect_stdout(file):
        main(["run", str(recipe), "--smoke", "--output", recipe.stem])
"""
PAPER_RECIPES = ["leaf_ir", "leaf_mt", "leaf_ir_plus"]


@pytest.fixture(scope="module")
def small_runs(published, tmp_path_factory):
    """The paper's recipes after a run with --smoke, all by one process with a real HF_ENDPOINT."""
    folder = tmp_path_factory.mktemp("small")
    with serve({}, published) as hub:
        done = run_python(hub.url, folder, "-c", _RUN_SMALL, *(RECIPES / f"{name}.py" for name in PAPER_RECIPES))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_the_paper_s_recipes_run_small(name, small_runs):
    printed = (small_runs / f"{name}.txt").read_text()
    assert re.search(r"msmarco +query +non-commercial .*\(not open\) +9 +502,939", printed)
    assert "not all texts are open: cc-news: Common Crawl terms of use, msmarco: " in printed
    sources = json.loads((small_runs / name / "model" / "recipe.json").read_text())["sources"]
    assert sources["pubmedqa"] == {"dataset": "qiaojin/PubMedQA", "commit": COMMIT, "licence": "mit"}
    query = "Represent this sentence for searching relevant passages: "
    assert SentenceTransformer(str(small_runs / name / "model")).prompts == {"query": query, "document": ""}
