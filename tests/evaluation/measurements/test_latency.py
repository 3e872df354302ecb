import copy
import json
import statistics
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.latency import draw_latency, format_latency
from leaf_st.evaluation.measurements.latency_rows import PAPER_BACKEND, PAPER_TABLE_8, LatencyRow, speeds
from leaf_st.evaluation.rows import read_rows, write_rows
from leaf_st.evaluation.timing import (
    BATCH_SIZES,
    REPEATS,
    Candidate,
    encode_speed,
    in_turns,
    measure_latency,
    processor_name,
)
from leaf_st.export.forms import FORMS
from leaf_st.models.random_weights import WIDTH
from leaf_st.student.static import build_static
from leaf_st.tables import aligned
from leaf_st.zoo import ARCTIC

TEXTS = {
    "query": [f"a question of {'so ' * (number % 5)}many words" for number in range(30)],
    "document": ["and " * (5 + number) for number in range(30)],
}


class Clock:
    """A clock that advances only while texts are encoded, and records these texts."""

    def __init__(self):
        self.now = 0.0
        self.seen = []

    def encoder(self, name, seconds):
        def encode(texts, **_):
            self.seen.append((name, list(texts)))
            self.now += seconds * len(texts)

        return encode


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", lambda: clock.now)
    return clock


@pytest.fixture(autouse=True)
def no_bfloat16(monkeypatch):
    monkeypatch.setattr("leaf_st.evaluation.timing.bfloat16_is_fast", lambda device: False)


def _slow(clock, model, name, query, document):
    """Return a copy of ``model`` that takes ``query`` or ``document`` seconds per text."""
    slow = copy.deepcopy(model)
    slow.encode_query, slow.encode_document = clock.encoder(name, query), clock.encoder(name, document)
    return slow


@pytest.fixture
def pair(clock, tiny_teacher, tiny_student):
    tiny_student.prompts = {"query": "q: ", "document": ""}
    return [
        Candidate("teacher", _slow(clock, tiny_teacher, "teacher", 0.02, 0.2), "teacher"),
        Candidate("student", _slow(clock, tiny_student, "student", 0.005, 0.05), "teacher", random_weights=True),
    ]


def test_models_encode_each_batch_in_turns_after_a_warm_up(clock):
    encoders = {"one": clock.encoder("one", 1.0), "two": clock.encoder("two", 2.0)}
    assert in_turns(encoders, [["a", "b"], ["c"]]) == {"one": [2.0, 1.0], "two": [4.0, 2.0]}
    assert clock.seen == [(name, batch) for batch in (["a", "b"], ["c"]) for name in ("one", "one", "two", "two")]


def test_a_long_batch_is_warmed_up_with_its_first_texts(clock):
    in_turns({"one": clock.encoder("one", 1.0)}, [["a"] * 100])
    assert [len(texts) for _, texts in clock.seen] == [32, 100]


def test_the_warm_up_lasts_a_tenth_of_a_second(clock, monkeypatch):
    monkeypatch.setattr("leaf_st.evaluation.timing._WARM_UP_SECONDS", 0.1)
    assert in_turns({"one": clock.encoder("one", 0.03)}, [["a"]])["one"] == pytest.approx([0.03])
    assert len(clock.seen) == 4 + 1


def test_speed_is_the_median_of_the_rounds(clock):
    times = iter([0, 1, 0, 8, 0, 2])  # the first of each pair is the warm-up

    def encode(texts, **_):
        clock.now += next(times)

    assert encode_speed({"model": types.SimpleNamespace(encode=encode)}, ["a"] * 4) == {"model": 2.0}


def test_rows_of_each_model_side_and_batch_size(pair, clock):
    rows = measure_latency(pair, TEXTS)
    assert [(row.model, row.side, row.batch_size) for row in rows] == [
        (model, side, size) for model in ("teacher", "student") for side in TEXTS for size in BATCH_SIZES
    ]
    cost = {("teacher", "query"): 0.02, ("teacher", "document"): 0.2}
    cost |= {("student", side): cost["teacher", side] / 4 for side in TEXTS}
    for row in rows:
        assert row.seconds == pytest.approx([cost[row.model, row.side] * row.batch_size] * REPEATS)
        assert row.backend == "torch float32"
        assert row.teacher == "teacher"
        assert row.random_weights == (row.model == "student")
        assert (row.device, row.threads) == ("cpu", torch.get_num_threads())
        assert row.processor == processor_name(torch.device("cpu")) != ""
    assert rows[-1].parameters == sum(weight.numel() for weight in pair[1].encoder.parameters())


def test_models_get_the_same_texts_and_each_repeat_gets_new_texts(pair, clock):
    measure_latency(pair, TEXTS, batch_sizes=(2, 3), repeats=4)
    of = {name: [texts for model, texts in clock.seen if model == name][1::2] for name in ("teacher", "student")}
    assert of["teacher"] == of["student"]
    for side, batches in zip(TEXTS, (of["teacher"][:8], of["teacher"][8:]), strict=True):
        assert [len(batch) for batch in batches] == [2, 3] * 4
        assert all(set(batch) <= set(TEXTS[side]) for batch in batches)
        assert len({tuple(batch) for batch in batches}) == 8
    assert clock.seen[0][0] == clock.seen[1][0] == "teacher"
    assert clock.seen[2][0] == clock.seen[3][0] == "student"


def test_tokens_are_the_tokens_that_the_model_reads(pair, clock, tiny_teacher, tiny_teacher_folder):
    table = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    models = [*pair, Candidate("table", _slow(clock, table, "table", 1, 1), "teacher")]
    rows = measure_latency(models, TEXTS, batch_sizes=(30,), repeats=1)
    tokens = {(row.model, row.side): row.tokens for row in rows}

    def mean(side, prompt="", most=64):
        counts = [min(most, len((prompt + text).replace(" ", "")) + 2) for text in TEXTS[side]]  # a token per letter
        return pytest.approx(np.mean(counts))

    assert tokens["teacher", "query"] == mean("query")
    assert tokens["student", "query"] == mean("query", "q: ")
    assert tokens["student", "document"] == mean("document")
    assert tokens["table", "document"] == pytest.approx(3 * np.mean([5 + number for number in range(30)]))


def test_bfloat16_is_timed_if_it_is_fast(monkeypatch, tiny_teacher, tiny_teacher_folder):
    monkeypatch.setattr("leaf_st.evaluation.timing.bfloat16_is_fast", lambda device: True)
    table = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    models = [Candidate("teacher", tiny_teacher, "teacher"), Candidate("table", table, "teacher")]
    rows = measure_latency(models, TEXTS, batch_sizes=(1, 2), repeats=2)
    backends = [(row.model, row.backend) for row in rows]
    assert backends[::4] == [(m, f"torch {kind}") for m in ("teacher", "table") for kind in ("float32", "bfloat16")]
    assert all(len(row.seconds) == 2 and min(row.seconds) > 0 for row in rows)
    assert tiny_teacher.dtype == torch.float32
    assert _drawn(rows, "query")[1] == ["teacher, torch float32", "table, torch float32", "100 ms"]


def test_too_few_texts_and_equal_names_are_refused(pair):
    with pytest.raises(InputError, match="at least 24 texts of kind document to time a batch, found 3"):
        measure_latency(pair, {**TEXTS, "document": ["a"] * 3})
    with pytest.raises(InputError, match="different names, found teacher, teacher"):
        measure_latency([pair[0], pair[0]], TEXTS)


def _row(model, side, size, seconds, **more):
    fixed = {"teacher": ARCTIC.hub_id, "backend": "torch float32", "tokens": 40.4, "parameters": 1}
    fixed |= {"random_weights": False, "device": "cpu", "processor": "a processor", "threads": 2}
    return LatencyRow(model=model, side=side, batch_size=size, seconds=seconds, **{**fixed, **more})


@pytest.fixture
def rows():
    draw = np.random.default_rng(0)
    slower = {ARCTIC.hub_id: 5.0, "leaf-ir": 1.0}
    return [
        _row(model, side, size, (factor * 0.01 * size * draw.uniform(0.5, 2, 7)).tolist())
        for model, factor in slower.items()
        for side in ("document", "query")
        for size in BATCH_SIZES
    ]


def test_speeds_equal_numpy(rows):
    found = {(speed.model, speed.side): speed for speed in speeds(rows)}
    assert len(found) == 4
    sizes = np.array(BATCH_SIZES)
    for (model, side), speed in found.items():
        seconds, teachers = (
            np.array([row.seconds for row in rows if (row.model, row.side) == (name, side)])
            for name in (model, ARCTIC.hub_id)
        )
        medians = np.median(seconds, axis=1)
        rate = (sizes / medians).mean()
        assert speed.rate == pytest.approx(rate)
        assert speed.rate_deviation == pytest.approx(np.std(sizes[:, None] / seconds))
        assert speed.speedup == pytest.approx(rate / (sizes / np.median(teachers, axis=1)).mean())
        assert speed.latency == pytest.approx(medians.min())
        assert speed.latency_deviation == pytest.approx(np.std(seconds[medians.argmin()]))
        assert speed.most == (sizes[medians <= 0.1].max() if (medians <= 0.1).any() else None)
    assert found[ARCTIC.hub_id, "query"].speedup == 1


def test_no_largest_batch_and_no_speedup():
    (speed,) = speeds([_row("leaf-ir", "query", 1, [0.11, 0.12, 0.2])])
    assert (speed.most, speed.speedup) == (None, None)
    assert format_latency([_row("leaf-ir", "query", 1, [0.11, 0.12, 0.2])]).splitlines()[3].split()[-2:] == ["ms", "-"]


def test_the_table_shows_the_paper_s_numbers(rows):
    *conditions, header, base, papers_base, small, papers_small = format_latency(rows).splitlines()
    assert conditions[0] == f"a processor (cpu, 2 threads); tokens that {ARCTIC.hub_id} reads on average: " + (
        "40 of a document and 40 of a query"
    )
    assert conditions[1].split()[1] == "batches"
    assert "± is the standard deviation" in conditions[1]
    assert header.split()[:3] == ["model", "backend", "docs/s"]
    assert base.split()[:3] == ["snowflake-arctic-embed-m-v1.5", "torch", "float32"]
    assert papers_base.split()[:2] == ["snowflake-arctic-embed-m-v1.5", "paper,"]
    assert small.startswith("leaf-ir")
    assert " ".join(papers_small.split()) == (
        f"leaf-ir {PAPER_BACKEND} 21.9 ± 5.5 6.5x 28.2 ± 9.69 ms 2 121.3 ± 14.0 7.3x 11.4 ± 1.38 ms 8"
    )
    random = format_latency([_row("mine", "query", 1, [0.01], random_weights=True)])
    assert "random weights, which give the same times: mine" in random
    assert PAPER_BACKEND not in random


def test_the_paper_s_numbers_are_consistent():
    rate = {(speed.model, speed.side): speed.rate for speed in PAPER_TABLE_8}
    for speed in PAPER_TABLE_8:
        pair = PAPER_TABLE_8[PAPER_TABLE_8.index(speed) // 4 * 4]
        assert speed.speedup == pytest.approx(speed.rate / rate[pair.model, speed.side], rel=0.06)
        assert (speed.most is None) == (speed.latency > 0.1)


def test_rows_are_equal_after_reading(rows, tmp_path):
    path = tmp_path / "results" / "latency.json"
    write_rows(path, rows)
    assert read_rows(path, LatencyRow) == rows
    assert json.loads(path.read_text())[0]["seconds"] == list(rows[0].seconds)
    path.write_text('[{"model": "leaf-ir"}]')
    with pytest.raises(InputError, match=r"latency\.json: expected a JSON list .*LatencyRow\): row 1, teacher: Field"):
        read_rows(path, LatencyRow)


def test_columns_are_aligned():
    assert aligned([["a", "b", "1"], ["ab", "bcd", "100"]], left=2) == "a   b      1\nab  bcd  100"


def _drawn(rows, side):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_latency(axes, rows, side)
    return axes, [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_figure_shows_two_backends(rows):
    first = rows[: len(BATCH_SIZES)]
    backends = ["torch float32", "torch bfloat16", *(form.name for form in FORMS)]
    drawn = [replace(row, backend=backend) for backend in backends for row in first]
    axes, labels = _drawn(drawn, first[0].side)
    assert [label.rpartition(", ")[2] for label in labels] == ["torch float32", "onnx int8", "100 ms"]
    assert len({line.get_linestyle() for line in axes.get_lines()}) == 3


def test_the_figure_shows_the_time_of_a_batch_over_its_size(rows):
    axes, labels = _drawn(rows, "document")
    assert labels == ["snowflake-arctic-embed-m-v1.5, torch float32", "leaf-ir, torch float32", "100 ms"]
    teacher, student, limit = axes.get_lines()
    expected = [1000 * statistics.median(row.seconds) for row in rows[:6]]
    assert teacher.get_ydata() == pytest.approx(expected)
    assert list(student.get_xdata()) == list(BATCH_SIZES)
    assert limit.get_ydata()[0] == 100
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch size (documents)", "time of a batch (ms)")
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(size) for size in BATCH_SIZES]
