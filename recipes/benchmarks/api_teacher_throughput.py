"""Throughput of a teacher behind an API, against a server on loopback with the latency and limits of an account.

Command:  python recipes/benchmarks/api_teacher_throughput.py [--seconds 20] [--latency 0.05]

The server (tests/api.py) is a process of its own. Texts of 60 tokens are embedded into a store. The script prints texts
per second, the share of the limit, and the number of requests that the server answered with 429, and checks that each
vector belongs to its text:

stated      the recipe states the limits of the account
followed    the recipe states no limits: the teacher follows 429s and the headers of the responses
storm       half of all requests are answered with 429 without a pause in the header; no other limit

Result:   Two EPYC cores, shared with other work, --seconds 12. With the limits in the recipe, the throughput is 99 % of
          the limit (1M tokens and 3,000 requests a minute: 274 texts/s; 10M and 10,000: 2,740 texts/s). Without them,
          the throughput is 99 % and 103 % (the server lets bursts of a second pass). If half of the requests get a 429,
          108 texts/s are embedded, and no text is lost or exchanged.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from leaf_st.recipe import ApiSpec, TeacherSpec
from leaf_st.tables import aligned
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.precompute import precompute
from leaf_st.texts import Text

_TESTS = Path(__file__).parents[2] / "tests"
_TOKENS = 60
_LIMITS = {"1M tokens": (1_000_000, 3_000), "10M tokens": (10_000_000, 10_000)}  # tokens and requests per minute


def main() -> None:
    """Print a line for each limit and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="length of a measurement at the limit")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that the server waits before it answers")
    options = parser.parse_args()
    os.environ["OPENAI_API_KEY"] = "none"
    rows: list[tuple[str, ...]] = [("limit per minute", "way", "texts/s", "of the limit", "429s")]
    for name, (tokens, requests) in _LIMITS.items():
        allowed = tokens / 60 / _TOKENS
        limits = {"tokens_per_minute": tokens, "requests_per_minute": requests}
        for way, stated in (("stated", limits), ("followed", {})):
            rate, refused = _measure({**limits, "latency": options.latency}, stated, round(allowed * options.seconds))
            rows.append((name, way, f"{rate:,.0f}", f"{rate / allowed:.2f}", f"{refused:,}"))
    rate, refused = _measure({"storm": 0.5, "latency": options.latency}, {}, 8 * 1024)
    rows.append(("none", "storm", f"{rate:,.0f}", "", f"{refused:,}"))
    print(aligned(rows, left=2))


def _measure(server: dict[str, Any], stated: dict[str, int], count: int) -> tuple[float, int]:
    """Embed ``count`` texts; return texts per second, and the number of 429s."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, server), daemon=True)
    process.start()
    texts = [Text(f"{number:07d} ".ljust(4 * _TOKENS, "x"), "document") for number in range(count)]
    teacher = open_teacher(TeacherSpec(api=ApiSpec(ours.recv(), "loopback", **stated)))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        store = precompute(texts, teacher, Path(folder) / "store")
        spent = time.perf_counter() - started
        assert store is not None
        sample = np.random.default_rng(0).choice(count, 200, replace=False).tolist()
        expected = np.stack([_hashed()(texts[row].text) for row in sample])
        assert np.abs(store.embeddings(sample) - expected).max() < 1e-3, "a vector does not belong to its text"
    ours.send("stop")
    refused = json.loads(ours.recv())
    process.join()
    return count / spent, refused


def _serve(connection: Connection, values: dict[str, Any]) -> None:
    sys.path.insert(0, str(_TESTS))
    import api

    with api.serve(key="", **values) as served:
        connection.send(served.url)
        connection.recv()
        connection.send(json.dumps(served.answers[429]))


def _hashed() -> Any:  # noqa: ANN401  (a function of the tests)
    sys.path.insert(0, str(_TESTS))
    import api

    return api.hashed


if __name__ == "__main__":
    main()
