import json
import os
import pickle
import re
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import api
import forked
import numpy as np
import pytest
from api import KEY, WIDTH, hashed, serve

from leaf_st import open_teacher, precompute
from leaf_st.cli.main import main
from leaf_st.errors import BudgetError, InputError
from leaf_st.models.random_weights import save_tiny_teacher
from leaf_st.recipe import ApiSpec, Recipe, StudentSpec, TeacherSpec, TextsSpec
from leaf_st.teacher.api import client as api_client
from leaf_st.teacher.api import pace as api_pace
from leaf_st.teacher.api import teacher as api_module
from leaf_st.teacher.api.client import ApiClient
from leaf_st.teacher.api.pace import Pace, requested_pause, seconds_of
from leaf_st.teacher.api.probes import PROBES
from leaf_st.teacher.compared import compared
from leaf_st.teacher.open import kind_of, open_teacher_model, require_teacher
from leaf_st.texts import Text

TEXTS = [f"text number {number}{' and more' * (number % 7)}" for number in range(500)]
ROWS = [Text(text, "query" if number % 3 else "document") for number, text in enumerate(TEXTS)]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("leaf_st.hub.attempts.PAUSES", (0.01,) * 6)
    monkeypatch.setattr(api_pace, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def server():
    with serve() as served:
        yield served


def expected(texts=TEXTS):
    return np.stack([hashed(text) for text in texts])


def check(teacher, texts=TEXTS):
    np.testing.assert_allclose(teacher.encode_document(texts), expected(texts), atol=1e-6)


def test_a_request_states_what_the_recipe_states(server):
    spec = server.spec(
        dimensions=8,
        input_type={"query": "search_query", "document": "search_document"},
        extra_body={"truncate": "NONE"},
        prompts={"query": "find: "},
    )
    teacher = open_teacher(spec)
    vectors = teacher.encode_query(["a"])
    body = server.bodies[-1]
    assert (body["input"], body["model"], body["dimensions"]) == (["find: a"], "loopback", 8)
    assert (body["input_type"], body["truncate"]) == ("search_query", "NONE")
    head = hashed("find: a")[:8]
    np.testing.assert_allclose(vectors[0], head / np.linalg.norm(head), atol=1e-6)
    teacher.encode_document(["a"])
    assert (server.bodies[-1]["input"], server.bodies[-1]["input_type"]) == (["a"], "search_document")
    assert teacher.dimension == 8
    assert teacher.prompts == {"query": "search_query: find: ", "document": "search_document: "}  # the student's
    assert teacher.fingerprint.normalized
    assert teacher.encode_query([]).shape == (0, 8)
    assert "dimensions" not in _bodies_of(server, server.spec())[-1]


def _bodies_of(server, spec):
    open_teacher(spec)
    return server.bodies


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
            "found a pointer of git LFS: run",
        ),
        ('{"version": "1.0"', r"tokenizer\.json cannot be read \(.*\): download the file again"),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_one_line(server, tmp_path, content, message):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=rf"^teacher\.api\.tokenizer {tmp_path}: .*{message}"):
        open_teacher(server.spec(max_length=200, tokenizer=str(tmp_path)))


def test_a_teacher_stays_in_its_process(server):
    teacher = open_teacher(server.spec())
    with pytest.raises(TypeError, match=r"^teacher .*: expected one teacher for the limits of .* in each process$"):
        pickle.dumps(teacher)


@pytest.mark.parametrize("kind", ["base64", "float"])
def test_both_encodings_are_read(server, kind):
    server.base64 = kind == "base64"
    check(open_teacher(server.spec()))


def test_unnormalized_vectors_stay_as_they_are():
    with serve(vector=lambda text: 3 * hashed(text)) as server:
        teacher = open_teacher(server.spec())
        assert not teacher.fingerprint.normalized
        np.testing.assert_allclose(teacher.encode_query(TEXTS), 3 * expected(), atol=1e-5)


def test_vectors_are_placed_by_their_index(server):
    server.change = lambda rows: rows[::-1]
    check(open_teacher(server.spec()))


def _without_zeros(rows):
    return [{name: value for name, value in row.items() if (name, value) != ("index", 0)} for row in rows]


def _without_indices(rows):
    return [{name: value for name, value in row.items() if name != "index"} for row in rows]


@pytest.mark.parametrize("change", [_without_zeros, _without_indices])
def test_a_missing_index_is_zero_or_the_order_of_the_response(server, change):
    server.change, server.counts = change, False
    check(open_teacher(server.spec()))


def test_an_empty_text_has_the_zero_vector_where_vectors_are_compared(server):
    teacher = open_teacher(server.spec())
    with compared():
        vectors = teacher.encode_document(["", "a", " \n", "b"])
        assert not teacher.encode_query([""]).any()
    np.testing.assert_allclose(vectors, [np.zeros(WIDTH), hashed("a"), np.zeros(WIDTH), hashed("b")], atol=1e-6)
    assert not {"", " \n"} & server.asked.keys()
    with pytest.raises(InputError, match=r"answers 400 \('\$\.input' is invalid\) for the text ''"):
        teacher.encode_document(["", "a"])  # targets of a student


@pytest.mark.parametrize("headers", [{}, {"retry-after": "0.02"}, {"retry-after-ms": "20"}])
def test_a_storm_of_429_costs_no_text_and_no_order(server, headers):
    teacher = open_teacher(server.spec())
    server.storm, server.headers_of_429 = 0.5, headers
    check(teacher)
    assert server.answers[429] > 3
    assert all(server.asked[text] == 1 for text in TEXTS)


def test_a_429_without_end_stops(server, monkeypatch):
    teacher = open_teacher(server.spec())
    monkeypatch.setattr(api_pace, "_PATIENCE", 0.05)
    server.storm = 1.0
    message = r"minutes with 429 \(too many requests\): the same command resumes later; .* and max_tokens_per_request "
    with pytest.raises(InputError, match=f"every request of .* {message}"):
        check(teacher)


def test_no_request_has_more_tokens_than_a_minute(server):
    client = ApiClient(server.spec(requests_per_minute=100, tokens_per_minute=40_000).api)
    tokens = np.full(1024, 300)
    for most in (40_000, 10_000):
        batches = client.batches(tokens)
        assert max(tokens[rows].sum() for rows in batches) == most // 300 * 300
        assert sorted(np.concatenate(batches)) == list(range(1024))
        client.divide_limits(4)


def test_a_request_that_is_too_large_for_a_minute_is_halved(server):
    teacher = open_teacher(server.spec())
    server.most_tokens, server.too_large = 100, 429
    check(teacher)
    assert server.answers[429] > 0


def test_an_empty_account_is_no_reason_to_wait(server):
    teacher = open_teacher(server.spec())
    server.statuses = [-429]
    with pytest.raises(InputError, match=r"account is empty \(insufficient_quota\): the same command resumes"):
        check(teacher, TEXTS[:3])
    assert server.answers[-429] + server.answers[429] == 1


def test_a_refused_batch_is_halved_and_the_limit_is_learned(server):
    teacher = open_teacher(server.spec())
    server.most_items = 9
    check(teacher)
    refused = server.answers[400]
    assert refused
    check(teacher)
    assert server.answers[400] == refused
    server.most_tokens = 25
    check(teacher)


def test_the_planner_keeps_the_caps_of_the_recipe(server):
    server.most_items, server.most_tokens = 20, 100
    check(open_teacher(server.spec(max_items=20, max_tokens_per_request=100)))
    assert server.answers[400] == 0
    assert max(len(body["input"]) for body in server.bodies) > 10


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "maximum context length is 100 tokens, found 150"), (500, r"input \(150 tokens\) is too large to process")],
)
def test_a_text_that_the_api_refuses_is_named(server, status, reason):
    teacher = open_teacher(server.spec())
    server.longest, server.too_large = 100, status
    long = "a long text " * 50
    with pytest.raises(
        InputError, match=rf"answers {status} \({reason}\) for the text 'a long text .* of 600 characters and about"
    ):
        check(teacher, [*TEXTS[:40], long])


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_the_api_refuses_from_the_start_is_no_long_text(server, status):
    server.statuses, server.echo_key = [status] * 5, True
    message = (
        rf"/v1 answers {status} \(told to answer {status} to \*\*\*\) for model loopback: check teacher\.api \(model, "
    )
    with pytest.raises(InputError, match=message) as refused:
        open_teacher(server.spec())
    assert KEY not in str(refused.value)
    assert server.answers == {status: 5}  # 16 probes, then 8, 4, 2 and 1


@pytest.mark.parametrize("status", [500, 503, 408, 0])
def test_a_failure_that_passes_costs_no_text(server, status):
    teacher = open_teacher(server.spec())
    server.statuses = [status] * 4
    check(teacher)
    assert server.answers[status] == 4


@pytest.mark.parametrize(
    ("status", "message"),
    [(500, r"answers 500 \(told to answer 500\) for model loopback"), (0, r"cannot be reached \(APIConnectionError\)")],
)
def test_a_failure_that_stays_stops(server, status, message):
    teacher = open_teacher(server.spec())
    server.statuses = [status] * 500
    with pytest.raises(InputError, match=f"{message}: check .*; the same command resumes"):
        check(teacher)


def test_slow_answers_make_smaller_requests(server, monkeypatch):
    monkeypatch.setattr(api_client, "_TIMEOUT", 0.5)
    teacher = open_teacher(server.spec())
    server.seconds_per_text = 0.02
    check(teacher, TEXTS[:40])
    assert max(len(body["input"]) for body in server.bodies[-3:]) < 20


def _without_one(rows):
    return rows[:-1]


def _repeated(rows):
    return [*rows[:-1], dict(rows[0])]


def _narrow(rows):
    return [{**row, "embedding": row["embedding"][:-1]} for row in rows]


def _ragged(rows):
    return [*rows[:-1], {**rows[-1], "embedding": [1.0]}]


def _nan(rows):
    return [*rows[:-1], {**rows[-1], "embedding": [float("nan")] * WIDTH}]


def _zero(rows):
    return [*rows[:-1], {**rows[-1], "embedding": [0.0] * WIDTH}]


def _null(rows):
    return [*rows[:-1], {**rows[-1], "embedding": None}]


def _empty(rows):
    return [*rows[:-1], {**rows[-1], "embedding": []}]


def _longer(rows):
    return [*rows[:-1], {**rows[-1], "embedding": [2 * value for value in rows[-1]["embedding"]]}]


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_one, "gives no vectors for 3 texts .*indices 0 to 2, found 2 vectors"),
        (_repeated, "gives no vectors for 3 texts .*indices 0 to 2, found 3 vectors"),
        (lambda rows: [], "gives no vectors for 3 texts"),
        (_narrow, "vectors of 15 dimensions: expected 16"),
        (_ragged, "gives no vectors for 3 texts"),
        (_nan, "NaN or infinite numbers for 1 of 3 texts, such as 'ccc'"),
        (_zero, "the zero vector for 1 of 3 texts, such as 'ccc': expected a direction, which a student can learn"),
        (_null, "no vector for 1 of 3 texts, such as 'ccc': leave the text out"),
        (_empty, "no vector for 1 of 3 texts, such as 'ccc': leave the text out"),
        (_longer, "a vector of norm 2.000 for 'ccc': expected norm 1"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused(server, change, message, encoded):
    server.base64 = encoded
    teacher = open_teacher(server.spec())
    server.change = change
    with pytest.raises(InputError, match=message):
        teacher.encode_document(["ccc", "bb", "c"])


def test_dimensions_that_the_api_ignores_are_refused(server):
    server.change = lambda rows: [{**row, "embedding": hashed("a").tolist()} for row in rows]
    with pytest.raises(InputError, match=r"vectors of 16 dimensions: expected 8; check .*teacher\.api\.dimensions"):
        open_teacher(server.spec(dimensions=8))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 1),
        ("a", 1),
        ("a text of 24 characters.", 6),
        ("a text of 25 characters..", 7),
        ("今天天气很好。", 7),
        ("สวัสดี", 6),
        ("नमस्ते", 6),
        ("Größe", 3),
        ("Привет", 4),
        ("API 今天", 3),
    ],
)
def test_tokens_are_estimated_in_every_script(server, text, tokens):
    assert open_teacher(server.spec()).token_counts([text, text]).tolist() == [tokens, tokens]


def test_silent_truncation_is_noticed_by_the_size_of_a_text(server):
    teacher, text = open_teacher(server.spec()), "字" * 167
    server.reads = 20  # tokens of four characters
    teacher.encode_document(["a" * 500, text[:166]])  # every model is thought to read as many
    with pytest.raises(InputError, match="ignores the end of a text of 167 characters, '字字"):
        teacher.encode_document(["a" * 500, text])
    with compared():
        np.testing.assert_allclose(teacher.encode_document([text])[0], hashed(text[:80]), atol=1e-6)
    assert teacher.reads_starts


def test_a_refused_text_is_shortened_from_a_size_on(server):
    teacher, text = open_teacher(server.spec()), "字" * 134
    server.longest = 100
    with compared():
        np.testing.assert_allclose(teacher.encode_document([text])[0], hashed(text[:100]), atol=1e-6)
        with pytest.raises(InputError, match="maximum context length is 100 tokens, found 133"):
            teacher.encode_document([text[:133]])


def test_silent_truncation_is_noticed(server):
    teacher = open_teacher(server.spec())
    server.reads, server.longest = 128, 750
    check(teacher, ["word " * 80])
    with pytest.raises(InputError, match="ignores the end of a text of 3,000 characters, 'word word "):
        teacher.encode_document([*TEXTS, "word " * 600])
    assert server.asked[TEXTS[0]] == 0  # no text was paid for


def test_a_text_that_is_cut_silently_is_compared_by_its_start(server, caplog):
    server.reads = 128
    teacher, long = open_teacher(server.spec()), "word " * 600
    assert not teacher.reads_starts
    with compared():
        for texts in (["a", long], [f"{long} longer"]):
            np.testing.assert_allclose(teacher.encode_document(texts)[-1], hashed(long[:512]), atol=1e-6)
    assert teacher.reads_starts
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"the API at {server.url} reads only the start of a text of 3,000 characters, {long[:60]!r}: long texts are "
        "measured with the vectors of their starts"
    ]
    with pytest.raises(InputError, match="ignores the end of a text of 3,000 characters"):
        teacher.encode_document([long])  # a target of a student


@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_text_that_the_api_refuses_is_compared_by_its_start(server, status):
    teacher, long = open_teacher(server.spec()), "a long text " * 250
    server.longest, server.too_large = 200, status
    with compared():
        vectors = teacher.encode_document([*TEXTS, long])
    np.testing.assert_allclose(vectors[:-1], expected(), atol=1e-6)
    start = long
    while len(start) > 4 * server.longest:
        start = start[: len(start) * 3 // 4]
    np.testing.assert_allclose(vectors[-1], hashed(start), atol=1e-6)
    assert teacher.reads_starts
    before = len(server.bodies)
    check(teacher)
    assert max(len(body["input"]) for body in server.bodies[before:]) >= 16  # the long text did not limit requests


def test_a_text_that_is_refused_for_its_content_is_no_long_text(server):
    teacher, refused = open_teacher(server.spec()), "a word of another kind " * 40
    with compared():
        server.statuses = [400] * 10
        with pytest.raises(InputError, match=r"answers 400 .* for the text 'a word of another "):
            teacher.encode_document([refused])  # and no start of the text is accepted
        server.statuses = []
        teacher.encode_document(["word " * 1000])
        server.statuses = [400]
        with pytest.raises(InputError, match=r"answers 400 .* for the text 'a word .* of 920 characters"):
            teacher.encode_document([refused])
    assert not teacher.reads_starts


def test_texts_are_compared_as_far_as_the_recipe_says(server, tiny_teacher_folder):
    teacher = open_teacher(server.spec(max_length=200, tokenizer=str(tiny_teacher_folder)))
    long = "abcdefghij " * 50
    with compared():
        teacher.encode_document([long])
    (sent,) = server.bodies[-1]["input"]
    assert long.startswith(sent)
    assert 190 <= len(sent.replace(" ", "")) <= 198


def test_texts_are_cut_as_the_recipe_says(server, tiny_teacher_folder):
    server.reads = 200
    spec = server.spec(max_length=200, tokenizer=str(tiny_teacher_folder), long_texts="cut")
    teacher = open_teacher(spec)
    long, short = "abcdefghij " * 50, "a b c"
    teacher.encode_document([long, short])
    sent = server.bodies[-1]["input"]
    assert short in sent
    cut = next(text for text in sent if text != short)
    assert long.startswith(cut)
    assert 190 <= len(cut.replace(" ", "")) <= 198  # one token for each letter, and two of the tokenizer's own
    assert teacher.token_counts([long, short]).tolist() == [200, 5]
    assert teacher.fingerprint.max_length == 200


def test_long_texts_are_refused_before_a_text_is_sent(server, tiny_teacher_folder):
    teacher = open_teacher(server.spec(max_length=300, tokenizer=str(tiny_teacher_folder)))
    with pytest.raises(
        InputError, match=r"the text 'a b a.*' has 402 tokens: expected at most teacher\.max_length=300"
    ):
        teacher.encode_document([*TEXTS, "a b " * 200])
    assert server.asked[TEXTS[0]] == 0


def test_a_drift_at_the_end_leaves_no_complete_store(server, tmp_path):
    teacher = open_teacher(server.spec())
    server.drift_after = 6
    with pytest.raises(
        InputError, match=r"the API's model has changed: the vector of .* began with \[.*\] at the start"
    ):
        precompute(ROWS, teacher, tmp_path / "store", rows_per_shard=50)
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_a_drift_is_noticed_on_resume(server, tmp_path):
    precompute(ROWS, open_teacher(server.spec()), tmp_path / "store", rows_per_shard=200)
    (tmp_path / "store" / "manifest.json").unlink()
    before = server.asked.copy()
    assert len(precompute(ROWS, open_teacher(server.spec()), tmp_path / "store", rows_per_shard=200)) == 500
    assert server.asked - before == Counter(PROBES)
    server.drift_after = 0
    with pytest.raises(InputError, match=r"has changed: .* now with \[.*\], a relative L2 distance of [\d.]+ "):
        precompute(ROWS, open_teacher(server.spec()), tmp_path / "store", rows_per_shard=200)


def test_rounding_is_no_drift(tmp_path):
    draw = np.random.default_rng(0)

    def noisy(text):
        vector = hashed(text) + draw.normal(scale=0.01 / WIDTH**0.5, size=WIDTH)
        return vector / np.linalg.norm(vector)

    with serve(vector=noisy) as server:
        for _ in range(2):
            assert len(precompute(ROWS, open_teacher(server.spec()), tmp_path / "store", rows_per_shard=100)) == 500


def test_probes_are_compared_while_texts_are_embedded(server, tmp_path, monkeypatch):
    monkeypatch.setattr(api_module, "_PROBE_SECONDS", 0.0)
    teacher = open_teacher(server.spec())
    server.drift_after = 12
    with pytest.raises(InputError, match="has changed"):
        precompute(ROWS, teacher, tmp_path / "store", rows_per_shard=50)
    assert len(list((tmp_path / "store").glob("shard-*"))) < 6


def test_the_budget_ends_before_the_block_that_would_exceed_it(server, tmp_path):
    spec = server.spec(price_per_million_tokens=10.0)
    most = kind_of(spec).tokens_of_budget(spec, 0.03, None)
    assert most == 3000
    done, stores = [], []
    while not stores:
        before = server.asked.copy()
        with suppress(InputError):
            stores.append(precompute(ROWS, open_teacher(spec, max_tokens=most), tmp_path / "store", rows_per_shard=100))
        used = server.asked - before
        assert sum(count * api.tokens_of(text) for text, count in used.items()) <= most
        done.append(len(list((tmp_path / "store").glob("shard-*"))))
        assert len(done) < 5
    store = stores[0]
    assert store.rows == 500
    assert 0 < done[0] < 5
    assert all(server.asked[text] == 1 for text in TEXTS)
    server.asked.clear()
    with pytest.raises(InputError, match=r"the budget of 100 tokens, 0\.0010 USD is reached: 0 are used"):
        open_teacher(spec, max_tokens=100)
    assert not server.asked


def test_a_budget_that_pays_for_no_block_names_the_smallest_that_does(server, tmp_path):
    spec = server.spec(price_per_million_tokens=10.0)

    def embed(most):
        return precompute(ROWS, open_teacher(spec, max_tokens=most), tmp_path / "store", rows_per_shard=250)

    with pytest.raises(BudgetError, match="would stop here again: raise --max-tokens or --budget-usd") as stopped:
        embed(1000)
    least, usd = re.search(r"at least ([\d,]+) tokens, ([\d.]+) USD$", str(stopped.value)).groups()
    least = int(least.replace(",", ""))
    assert kind_of(spec).tokens_of_budget(spec, float(usd), None) >= least
    with pytest.raises(BudgetError, match=rf"at least {least:,} tokens"):
        embed(least - 1)
    assert not list((tmp_path / "store").glob("shard-*"))
    with suppress(BudgetError):  # of the second block
        embed(least)
    assert len(list((tmp_path / "store").glob("shard-*"))) == 1


def test_a_budget_needs_a_price():
    spec = TeacherSpec(api=ApiSpec("http://127.0.0.1:1/v1", "m"))
    kind = kind_of(spec)
    assert kind.tokens_of_budget(spec, None, 7) == 7
    with pytest.raises(InputError, match=r"--budget-usd: expected a price, found none: set teacher\.api\.price"):
        kind.tokens_of_budget(spec, 1.0, None)
    with pytest.raises(InputError, match=r"expected teacher\.api, found all-MiniLM"):
        kind_of(local := TeacherSpec(model="all-MiniLM")).tokens_of_budget(local, None, 7)


@pytest.mark.parametrize("key", ["sk-other-key", ""])
def test_a_wrong_key_is_refused_without_showing_it(server, key, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server.echo_key = True
    state = "refuses the key in" if key else "expects a key in"
    shown = r"\*\*\*" if key else "none"
    reason = rf"\(401: Incorrect API key provided: {shown}\): set it to a valid key$"
    with pytest.raises(InputError, match=f"{state} the environment variable OPENAI_API_KEY {reason}") as refused:
        open_teacher(server.spec())
    assert not key or key not in f"{refused.value} {caplog.text}"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            KEY,
            r"refuses the request \(403: told to answer 403 to \*\*\*\): check what the key in OPENAI_API_KEY may use",
        ),
        ("", r"expects a key in the environment variable OPENAI_API_KEY \(403: told to answer 403 to none\): set it"),
    ],
)
def test_a_request_that_is_forbidden_has_the_reason_of_the_api(server, key, message, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server.key, server.statuses, server.echo_key = key, [403], True
    with pytest.raises(InputError, match=message) as refused:
        open_teacher(server.spec())
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["OPENAI_PROJECT_ID"], "OPENAI_PROJECT_ID"),
        (["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"], "OPENAI_ORG_ID and OPENAI_PROJECT_ID"),
    ],
)
def test_variables_that_choose_an_account_are_named(server, status, names, shown, monkeypatch):
    for name in names:
        monkeypatch.setenv(name, "another-account")
    server.statuses = [status]
    with pytest.raises(InputError, match=rf"\({status}: told to answer {status}\): .* account in {shown}$") as refused:
        open_teacher(server.spec())
    assert "another-account" not in str(refused.value)


def test_the_key_of_another_variable_is_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    monkeypatch.setenv("OUR_KEY", f"{KEY}\n")
    check(open_teacher(server.spec(api_key_env="OUR_KEY")))


def test_a_message_with_the_key_does_not_show_it(server):
    server.statuses = [418]
    spec = server.spec()
    server.change = lambda rows: rows
    message = f"your key {KEY} is a teapot"
    with pytest.raises(InputError, match="answers 418") as refused:
        open_teacher(spec)
    assert KEY not in str(refused.value)
    client = api_client.ApiClient(spec.api)
    error = type("E", (), {"body": {"message": message}, "message": message})()
    assert client._message(error) == "your key *** is a teapot"


def test_a_key_in_the_recipe_is_refused(server):
    with pytest.raises(InputError, match=r"teacher\.api contains the key, which recipe\.json would record") as refused:
        open_teacher(server.spec(extra_body={"user": KEY}))
    assert KEY not in str(refused.value)
    with pytest.raises(InputError, match=r"teacher\.api\.url: expected an address without a user") as refused:
        ApiSpec(f"https://user:{KEY}@example.org/v1", "m")
    assert KEY not in str(refused.value)
    with pytest.raises(
        InputError, match=r"use https://us\.openai\.azure\.com/openai/v1, and the name of the"
    ) as refused:
        ApiSpec(f"https://us.openai.azure.com/openai/deployments/d?api-version=2024-02-01&api-key={KEY}", "m")
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        {"api_key": KEY},
        {"X-API-Key": KEY},
        {"token": KEY},
        {"accessToken": KEY},
        {"client_secret": KEY},
        {"options": [{"Authorization": KEY}]},
        {"proxy": {"PASSWORD": KEY}},
    ],
)
def test_a_value_named_as_a_secret_is_refused(body):
    with pytest.raises(InputError, match=r"^teacher\.api\.extra_body: .* of teacher\.api\.api_key_env$") as refused:
        ApiSpec("https://example.org/v1", "m", extra_body=body)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_cannot_be_sent_is_named(monkeypatch, key):
    monkeypatch.setenv("SOME_KEY", key)
    with pytest.raises(InputError, match=r"^the environment variable SOME_KEY: expected a key of ASCII") as refused:
        ApiClient(ApiSpec("https://example.org/v1", "m", api_key_env="SOME_KEY"))
    assert key not in str(refused.value)


def test_a_value_that_counts_tokens_is_no_secret():
    body = {"max_tokens": 5, "truncate": "NONE", "options": {"truncate_prompt_tokens": 5}}
    assert ApiSpec("https://example.org/v1", "m", extra_body=body).extra_body == body


def test_a_server_that_is_not_there_is_named_at_once(server):
    started = time.monotonic()
    with pytest.raises(
        InputError, match=r"the API at http://127\.0\.0\.1:1/v1 cannot be reached .*: check teacher\.api"
    ):
        open_teacher(TeacherSpec(api=ApiSpec("http://127.0.0.1:1/v1", "m")))
    assert time.monotonic() - started < 5
    with pytest.raises(InputError, match=r"answers 404 \(no such path\)"):
        open_teacher(TeacherSpec(api=ApiSpec(f"{server.url}/other", "m")))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:PORT/v1", "http://127.0.0.1:70000/v1", "http://127.0.0.1:0/v1", "http://[::1/v1"]
)
def test_an_address_to_which_nothing_can_be_sent_is_refused_with_the_recipe(url):
    with pytest.raises(InputError, match=r"^teacher\.api\.url: expected an address such as http.*, found 'http://"):
        ApiSpec(url, "m")


def test_the_client_is_an_extra(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"pip install 'leaf-st\[api\]'"):
        open_teacher(server.spec())


def test_the_fingerprint_is_compared_without_a_network(server, tmp_path):
    spec = server.spec(input_type={"query": "q"})
    store = precompute(ROWS, open_teacher(spec), tmp_path / "store")
    asked = server.answers[200]
    require_teacher(spec, store.fingerprint, "store")
    require_teacher(replace(spec, api=replace(spec.api, tokens_per_minute=10)), store.fingerprint, "store")
    for changes in ({"model": "other"}, {"dimensions": 8}, {"input_type": {}}, {"url": "http://127.0.0.1:1/v1"}):
        other = replace(spec, api=replace(spec.api, **changes))
        with pytest.raises(
            InputError, match=r"store was made by another teacher: expected revision .*, found loopback"
        ):
            require_teacher(other, store.fingerprint, "store")
    with pytest.raises(InputError, match="expected prompts"):
        require_teacher(replace(spec, prompts={"query": "find: "}), store.fingerprint, "store")
    assert server.answers[200] == asked


def test_what_an_api_cannot_do_is_refused(server):
    spec = server.spec()
    with pytest.raises(InputError, match="teacher loopback is an API and cannot be loaded as a model: embed documents"):
        open_teacher_model(spec)
    with pytest.raises(InputError, match=r"found an API: set student\.backbone"):
        open_teacher(spec).token_vectors(3)
    for student, message in (
        (StudentSpec(layers=(0, 2)), r"student\.backbone: expected an encoder with teacher\.api, found None"),
        (StudentSpec(static=True), r"student\.static: expected false with teacher\.api, found true"),
    ):
        with pytest.raises(InputError, match=message):
            Recipe("r", teacher=spec, student=student)
    with pytest.raises(InputError, match=r"teacher\.trust_remote_code: expected false"):
        replace(spec, trust_remote_code=True)
    with pytest.raises(InputError, match=r"teacher\.api\.tokenizer: expected a model with teacher\.max_length"):
        replace(spec, max_length=8)
    with pytest.raises(InputError, match=r"teacher\.api\.tokenizer: expected a model with long_texts=cut"):
        server.spec(long_texts="cut")
    with pytest.raises(InputError, match=r"teacher\.max_length: expected a number of tokens"):
        server.spec(long_texts="cut", tokenizer="m")


def test_durations_and_pauses_are_read():
    assert [seconds_of(text) for text in ("1.5", "20ms", "6m0s", "1h2m3s", "", "soon", "1s and")] == [
        *(1.5, 0.02, 360, 3723, None, None, None)
    ]
    assert requested_pause({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert requested_pause({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}) is None


def test_the_pace_follows_the_limits_and_the_headers():
    pace = Pace(requests=None, tokens=60_000)
    started = time.monotonic()
    for _ in range(5):
        with pace.turn(300):
            pass
    spent = time.monotonic() - started
    assert spent < 0.6  # a second may be made up for
    for _ in range(3):
        with pace.turn(300):
            pass
    assert time.monotonic() - started > 0.9
    assert pace.seconds(10, 6000) == 6
    free = Pace(None, None)
    with free.turn(1):
        pass
    free.succeeded({"x-ratelimit-remaining-tokens": "3", "x-ratelimit-reset-tokens": "300ms"}, tokens=10)
    started = time.monotonic()
    with free.turn(1):
        pass
    assert time.monotonic() - started > 0.2


def test_a_long_pause_that_the_api_requests_uses_a_minute_of_the_patience(monkeypatch, caplog):
    now = [1000.0]
    monkeypatch.setattr(api_pace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    patient = Pace(None, None)

    def refuse(pace, pause):
        for _ in range(2):  # in flight together
            pace.refused(now[0], pause, "slow down")
        now[0] += pause + 1

    with caplog.at_level("INFO", "leaf_st"):
        for _ in range(10):
            refuse(patient, 3600.0)
        with pytest.raises(InputError, match="every request of 10 minutes with 429"):
            refuse(patient, 3600.0)
        assert caplog.messages == ["the API requests a pause of 3600 seconds"] * 10
        impatient = Pace(None, None)
        for _ in range(20):
            refuse(impatient, 30.0)
        with pytest.raises(InputError, match="every request of 10 minutes with 429"):
            refuse(impatient, 30.0)


def _recipe_file(folder, url, rows):
    save_tiny_teacher(folder / "backbone")
    lines = (json.dumps({"text": f"a text, number {number}"}) + "\n" for number in range(rows))
    (folder / "texts.jsonl").write_text("".join(lines))
    recipe = Recipe(
        "over-http",
        texts=TextsSpec(str(folder / "texts.jsonl")),
        teacher=TeacherSpec(api=ApiSpec(url, "loopback", price_per_million_tokens=0.02)),
        student=StudentSpec(backbone=str(folder / "backbone"), layers=(0, 2), closed_form_rows=32),
    )
    (folder / "recipe.py").write_text(
        f"import json\nfrom leaf_st.recipe import Recipe\nrecipe = Recipe.from_dict({recipe.to_dict()!r})\n"
    )
    return folder / "recipe.py"


def _leaf_st(variables, *words):
    """Run a command in a forked process, whose variables are those of the first fork."""
    os.environ.update({"OPENAI_API_KEY": KEY, **variables})
    sys.exit(main([str(word) for word in words]))


def test_a_killed_embedding_asks_again_for_no_finished_block(tmp_path):
    with serve(latency=0.15) as server:
        words = ("embed", _recipe_file(tmp_path, server.url, 1000), "--output", tmp_path / "run")
        words += ("--set", "teacher.rows_per_shard=256")
        for blocks in (1, 2):
            process = forked.CONTEXT.Process(target=_leaf_st, args=({}, *words))
            process.start()
            while len(_shards(tmp_path)) < blocks and process.is_alive():
                time.sleep(0.01)
            time.sleep(0.1)
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
        finished, asked = len(_shards(tmp_path)), server.asked.copy()
        assert 2 <= finished < 4
        done = forked.run(_leaf_st, {}, *words)
        assert "1,000 rows" in done.stdout, done.stderr
        texts = [f"a text, number {number}" for number in range(1000)]
        for text in texts[: 256 * finished]:
            assert server.asked[text] == asked[text]
        # Each of the two kills lost the block in flight, at most.
        assert max(server.asked[text] for text in texts) <= 3
        assert sum(server.asked[text] - 1 for text in texts) <= 2 * 256


def test_a_dry_run_takes_no_budget(tmp_path, capsys):
    with serve() as server:
        words = ("run", _recipe_file(tmp_path, server.url, 200), "--output", tmp_path / "run", "--dry-run")
        with pytest.raises(SystemExit):
            main([str(word) for word in (*words, "--max-tokens", "7")])
        assert not server.asked
    assert "--dry-run: expected no budget, because a plan states the price" in capsys.readouterr().err


def _shards(folder):
    return list((folder / "run" / "store").glob("shard-*"))


def test_a_run_over_http_shows_the_key_nowhere(tmp_path):
    with serve(echo_key=True) as server:
        recipe = _recipe_file(tmp_path, server.url, 200)
        words = ("run", recipe, "--output", tmp_path / "run", "--set", "max_steps=2", "--set", "use_cpu=true")
        stopped = forked.run(_leaf_st, {}, *words, "--max-tokens", "900")
        assert stopped.returncode == 2
        assert "leaf-st: the budget of 900 tokens, 0.0000 USD is reached: " in stopped.stderr
        done = forked.run(_leaf_st, {"OPENAI_LOG": "debug"}, *words)
        assert done.returncode == 0, done.stderr
        assert "requests, " in done.stdout
        assert "Sending HTTP Request" in done.stderr  # what the client logs
        push = ("push", tmp_path / "run", "--repo-id", "me/student", "--dry-run", "--without-results")
        pushed = forked.run(_leaf_st, {}, *push)
        card = (tmp_path / "run" / "publish" / "README.md").read_text()
        output = stopped.stdout + stopped.stderr + done.stdout + done.stderr + pushed.stdout + pushed.stderr
        assert pushed.returncode == 0, pushed.stderr
    assert KEY not in output
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert f'client = OpenAI(base_url="{server.url}")  # reads OPENAI_API_KEY' in card
    assert 'model="loopback"' in card
    assert "vectors of loopback" in card
    assert "MiniLM" not in card


@pytest.mark.parametrize(
    ("input_type", "prompts"),
    [
        ({}, ("", "")),
        ({"query": "text", "document": "text"}, ("", "")),
        ({"query": "query", "document": "passage"}, ("query: ", "passage: ")),
        ({"query": "query"}, ("query: ", "")),
    ],
)
def test_the_student_sees_input_types_that_differ(server, input_type, prompts):
    assert tuple(open_teacher(server.spec(input_type=input_type)).prompts.values()) == prompts
