import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from leaf_st.errors import InputError
from leaf_st.pipeline import survey as module
from leaf_st.pipeline.survey import survey
from leaf_st.recipe import PAPER, TextsSpec
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.texts.read import read_texts


@pytest.fixture
def source(tmp_path):
    rows = [
        {"text": f"é {number} " + "a" * (number % 50), "kind": "query" if number % 3 else "document"}
        for number in range(600)
    ]
    rows += rows[:100]  # these come twice
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(tmp_path / "texts.jsonl")


def test_rows_that_are_left_out_are_said(source, caplog):
    caplog.set_level("INFO", "leaf_st")
    survey(TextsSpec(source=source))
    assert caplog.messages == [f"{source}; left out: 100 duplicate"]


@pytest.mark.parametrize("limit", [None, 50, {"query": 30}, {"query": 30, "document": 5}])
def test_local_rows_are_those_that_training_reads(source, limit):
    spec = TextsSpec(source=source, limit=limit)
    texts = list(read_texts(spec, Counter()))
    parts, sample = survey(spec)
    for part in parts:
        of_kind = [text.text for text in texts if text.kind == part.kind]
        assert part.name == source
        assert part.rows == len(of_kind)
        assert part.characters == pytest.approx(np.mean([len(text) for text in of_kind]))
        assert part.size == sum(len(text.encode()) for text in of_kind)
    assert sum(part.rows for part in parts) == len(texts) == len(sample)
    assert set(sample) == set(texts)


def test_the_sample_is_from_everywhere(source, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 60)
    _, sample = survey(TextsSpec(source=source))
    assert len(set(sample)) == 60
    numbers = [int(text.text.split()[1]) for text in sample]
    assert 200 < np.mean(numbers) < 400  # the first 60 would have 30


def test_missing_texts_are_named():
    with pytest.raises(InputError, match=r"texts\.source none\.txt: no such file"):
        survey(TextsSpec(source="none.txt"))


def test_the_paper_s_sources_say_their_size():
    parts, sample = survey(TextsSpec(source=PAPER, leave_out=("msmarco",)))
    assert {part.name: part.rows for part in parts} == {
        name: source.expected for name, source in SOURCES.items() if name != "msmarco"
    }
    rows = sum(part.rows for part in parts)
    mean = sum(part.rows * part.characters for part in parts) / rows
    assert np.mean([len(text.text) for text in sample]) == pytest.approx(mean, rel=0.02)
    queries = sum(part.rows for part in parts if part.kind == "query")
    assert Counter(text.kind for text in sample)["query"] / len(sample) == pytest.approx(queries / rows, abs=0.01)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"per_source": 9}, dict.fromkeys(SOURCES, 9)),
        ({"per_source": 9, "sentences": True}, dict.fromkeys(SOURCES, 9) | {"sentences": 18}),  # of FineWeb and news
        (
            {"per_source": 30_000, "leave_out": tuple(SOURCES)[:5]},
            {
                "lotte": 27_000,
                "msmarco": 30_000,
                "pubmedqa": 30_000,
                "triviaqa": 30_000,
            },
        ),
    ],
)
def test_limits_hold_for_the_paper_s_sources(limits, expected):
    parts, _ = survey(TextsSpec(source=PAPER, **limits))
    assert {part.name: part.rows for part in parts} == expected


def test_a_source_that_there_is_not():
    with pytest.raises(InputError, match=r"texts\.leave_out: expected some of .*, found 'wikipedia'"):
        survey(TextsSpec(source=PAPER, leave_out=("wikipedia",)))
    assert not Path(PAPER).exists()
