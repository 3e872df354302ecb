"""The page in headless Chromium, from a file server on loopback."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from leaf_st.evaluation.search import search
from leaf_st.models.load import load_model
from leaf_st.publishing.site import index
from leaf_st.publishing.site.build import build_site
from leaf_st.publishing.site.runtime import CDN, RUNTIME
from leaf_st.teacher.open import open_teacher, teacher_spec

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(_BROWSER is None, reason="Chromium not found: apt-get install chromium")

_QUERIES = ("abc", "ffe dcb aah", "gba hdc ebb acd fgh", "hah bcb " * 300)
_TOLERANCE = 0.02
_WAIT = 30_000  # milliseconds; a busy machine is slow


class _Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium has no sandbox for root, as in most containers.
        yield playwright.chromium.launch(executable_path=_BROWSER, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def vendored(exported, documents, node_modules, tmp_path_factory):
    """A page with both indexes that contains its libraries."""
    output = tmp_path_factory.mktemp("page") / "both"
    return build_site(exported, documents, output, modes=["asymmetric", "standard"], vendor=node_modules).parent


@pytest.fixture
def serve():
    """Return a function that serves a folder and returns its address."""
    servers = []

    def start(folder):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Server, directory=str(folder)))
        servers.append((server, threading.Thread(target=server.serve_forever, args=(0.01,))))
        servers[-1][1].start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def visit(browser, serve):
    """Return a function that opens the page of a folder; ends with a check that the page reported nothing."""
    contexts, messages = [], []

    def go(folder, before=lambda context: None):
        context = browser.new_context(viewport={"width": 400, "height": 800})
        contexts.append(context)
        before(context)
        page = context.new_page()
        page.hosts = set()
        context.on("request", lambda request: page.hosts.add(request.url.split("/")[2]))
        context.on("requestfailed", lambda request: messages.append(f"{request.url}: {request.failure}"))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(serve(folder))
        page.messages = messages
        return page

    yield go
    for context in contexts:
        context.close()
    assert messages == []


def _hits(page, query):
    """Search, and return the texts and scores that the page shows."""
    page.fill("#query", query)
    page.press("#query", "Enter")
    page.wait_for_function(
        "query => document.getElementById('results').dataset.query === query", arg=query.strip(), timeout=_WAIT
    )
    rows = page.locator("#results > li")
    scores = [float(text) for text in rows.locator(".score").all_inner_texts()]
    return rows.locator(".text").evaluate_all("texts => texts.map((text) => text.textContent)"), scores


@pytest.fixture(scope="module")
def expected(exported, documents):
    """Return a function that searches as `leaf-st search` does, with torch and float32 vectors."""
    student = load_model(str(exported / "model"))
    teacher = open_teacher(teacher_spec(str(exported / "model"), prompts=student.prompts))
    texts = [document.embedded for document in documents]

    def find(query, mode, k=10):
        return search(query, texts, student=student, teacher=teacher, k=k)[mode]

    return find


def _require_same(found, wanted, documents):
    texts, scores = found
    assert texts == [documents[hit.row].text for hit in wanted]
    assert np.allclose(scores, [hit.score for hit in wanted], atol=_TOLERANCE)


def test_results_equal_those_of_the_search_command(vendored, visit, expected, documents):
    page = visit(vendored)
    for query in _QUERIES:
        _require_same(_hits(page, query), expected(query, "asymmetric"), documents)
    page.check("text=the student")
    _require_same(_hits(page, _QUERIES[1]), expected(_QUERIES[1], "standard"), documents)
    assert page.hosts - {""} == {page.url.split("/")[2]}
