"""The page in headless Chromium, from a file server on loopback."""

import functools
import http.server
import json
import shutil
import threading
from collections import Counter

import numpy as np
import pytest
from letters import words

from leaf_st.evaluation.search import search
from leaf_st.models.load import load_model
from leaf_st.publishing.site import index
from leaf_st.publishing.site.build import GRAPH, build_site
from leaf_st.publishing.site.runtime import CDN, RUNTIME
from leaf_st.teacher.open import open_teacher, teacher_spec
from leaf_st.texts.documents import Document

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(_BROWSER is None, reason="Chromium not found: apt-get install chromium")

_QUERIES = ("abc", "ffe dcb aah", "gba hdc ebb acd fgh", "hah bcb " * 300)
_TOLERANCE = 0.02
_NEARLY_EQUAL = 0.006  # scores whose order may change with weights of eight bits
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
def vendored(finished, documents, node_modules, tmp_path_factory):
    """A page with both indexes that contains its libraries."""
    output = tmp_path_factory.mktemp("page") / "both"
    return build_site(finished, documents, output, modes=["asymmetric", "standard"], vendor=node_modules).parent


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
def expected(finished, documents):
    """Return a function that searches as `leaf-st search` does, with torch and float32 vectors."""
    student = load_model(str(finished / "model"))
    teacher = open_teacher(teacher_spec(str(finished / "model"), prompts=student.prompts))

    def find(query, mode="asymmetric", k=10, among=documents):
        texts = [document.embedded for document in among]
        return search(query, texts, student=student, teacher=teacher, k=k)[mode]

    return find


def _require_near(page, query, wanted, documents):
    """Check the results against the scores of all documents: only documents of nearly equal scores change places."""
    texts, scores = _hits(page, query)
    reference = {documents[hit.row].text: hit.score for hit in wanted}
    assert np.allclose(scores, [reference[text] for text in texts], atol=_TOLERANCE)
    best = sorted(reference.values(), reverse=True)[:10]
    assert np.allclose([reference[text] for text in texts], best, atol=_NEARLY_EQUAL)


def _separate(documents, expected):
    """Return documents of which each two differ in their scores, for every query, by more than the rounding of both."""
    found = [expected(query, k=len(documents), among=documents) for query in _QUERIES]
    scores = np.array([[hit.score for hit in sorted(hits, key=lambda hit: hit.row)] for hits in found])
    kept = []
    for row in range(len(documents)):
        if np.all(np.abs(scores[:, kept] - scores[:, [row]]) > 2 * _NEARLY_EQUAL):
            kept.append(row)
    return [documents[row] for row in kept]


def test_the_ten_documents_are_those_of_the_search_command(
    finished, documents, expected, node_modules, visit, tmp_path
):
    draw = np.random.default_rng(4)
    more = (words(draw, length) for length in draw.integers(2, 30, 800))
    separate = _separate([*documents, *(Document(text, "", text) for text in more)], expected)
    assert len(separate) > 12  # more than are shown
    page = visit(build_site(finished, separate, tmp_path / "page", vendor=node_modules).parent)
    for query in _QUERIES:
        texts, scores = _hits(page, query)
        wanted = expected(query, among=separate)
        assert texts == [separate[hit.row].text for hit in wanted]
        assert np.allclose(scores, [hit.score for hit in wanted], atol=_TOLERANCE)
    assert not page.locator("#modes").is_visible()


def test_both_indexes_and_no_other_host(vendored, visit, expected, documents):
    page = visit(vendored)
    for query in _QUERIES:
        _require_near(page, query, expected(query, k=200), documents)
    page.check("input[value=standard]")
    page.wait_for_function("document.getElementById('documents').textContent === 'tiny'")
    _require_near(page, _QUERIES[1], expected(_QUERIES[1], "standard", k=200), documents)
    assert page.hosts - {""} == {page.url.split("/")[2]}
    assert "200 vectors" in page.inner_text("#index")
    assert "ms to encode" in page.inner_text("#time")


def test_texts_are_never_html_and_words_are_marked(finished, documents, node_modules, visit, tmp_path):
    others = [
        Document(text, "", text) for text in ("日本の首都は東京です", "मेज पर किताब है", "압축 파일", "un Café noir")
    ]
    others.append(Document("الكتاب على الطاولة.", "كتاب", "الكتاب على الطاولة."))
    page = visit(build_site(finished, [*documents[:5], *others], tmp_path / "page", vendor=node_modules).parent)
    texts, _ = _hits(page, "abc")
    assert documents[0].text in texts
    assert page.locator("#results b, #results i, #results script").count() == 0
    assert "abc" in page.locator("#results mark").all_inner_texts()
    assert "<i>abc</i>" in page.locator("#results h2").all_inner_texts()
    _hits(page, "東京の天気")  # no space separates the words
    assert page.locator("#results mark").all_inner_texts() == ["東京"]
    _hits(page, "किताब")  # whose vowels are marks on letters
    assert page.locator("#results mark").all_inner_texts() == ["किताब"]
    directions = page.locator("#results .text").evaluate_all(
        "all => all.map((text) => getComputedStyle(text).direction)"
    )
    assert Counter(directions) == {"ltr": 9, "rtl": 1}
    for query, marks in (("압축", ["압축"]), ("cafe", ["Café"]), ("Cafe\u0301", ["Café"])):
        _hits(page, query)
        assert page.locator("#results mark").all_inner_texts() == marks


_SCORES = """
async (values) => {
  const { int8Scores } = await import("./ranking.js");
  const [query, codes, low, step] = JSON.parse(values);
  return JSON.stringify(Array.from(int8Scores(Float32Array.from(query), Int8Array.from(codes), { low, step })));
}
"""


@pytest.mark.parametrize(("rows", "width"), [(3, 5), (90_000, 3), (900, 384), (40, 1027)])
def test_scores_of_codes_are_those_of_the_decoded_vectors(vendored, visit, rows, width):
    draw = np.random.default_rng(rows)
    query, low, step = draw.normal(size=width), draw.normal(size=width), draw.uniform(0.5, 1, width) / 100
    codes = draw.integers(-128, 128, (rows, width))
    values = [query.tolist(), codes.ravel().tolist(), low.tolist(), step.tolist()]
    # As text, because playwright takes seconds for 300,000 numbers.
    found = json.loads(visit(vendored).evaluate(_SCORES, json.dumps(values)))
    expected = (low + (codes + 128.5) * step) @ query
    assert found == pytest.approx(expected.tolist(), abs=2e-4 * np.linalg.norm(query))


def test_the_address_keeps_the_query(vendored, visit):
    page = visit(vendored)
    texts, _ = _hits(page, "abc & def")
    assert page.url.endswith("?q=abc+%26+def")
    page.reload()
    page.wait_for_selector("#results > li", timeout=_WAIT)
    assert page.input_value("#query") == "abc & def"
    assert page.locator("#results .text").evaluate_all("texts => texts.map((text) => text.textContent)") == texts
    page.fill("#query", "")
    page.wait_for_function("() => location.search === ''", timeout=_WAIT)


def test_the_mode_that_is_shown_is_the_mode_of_the_search_after_going_back(vendored, visit):
    page = visit(vendored)
    page.check("input[value=standard]")
    page.wait_for_selector("#status:text-is('Ready: type a query.')", timeout=_WAIT)
    page.goto("about:blank")
    page.go_back()
    page.wait_for_selector("#status:text-is('Ready: type a query.')", timeout=_WAIT)
    assert page.is_checked("input[value=asymmetric]")
    assert page.inner_text("#documents") == "local/teacher"


def test_the_keyboard_is_enough_and_a_phone_does_not_scroll_sideways(vendored, visit):
    page = visit(vendored)
    page.keyboard.type("abc")  # the box has the focus
    page.keyboard.press("Enter")
    page.wait_for_selector("#results > li", timeout=_WAIT)
    focused = []
    for _ in range(2):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.tagName"))
    assert focused == ["BUTTON", "INPUT"]
    page.keyboard.press("ArrowRight")
    assert page.is_checked("input[value=standard]")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_browser_keeps_model_and_index_of_each_folder(vendored, visit, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(vendored, root)
    shutil.copytree(vendored, root / "sub")
    page, asked = visit(root), []
    url = page.url
    _hits(page, "abc")
    page.evaluate("async (url) => (await caches.open(`leaf-st ${url}`)).put('earlier.onnx', new Response(''))", url)
    page.goto(f"{url}sub/")
    _hits(page, "abc")
    page.context.on("request", lambda request: asked.append(request.url))
    for address in ("sub/index.html", "index.html"):
        page.goto(url + address)
        _hits(page, "abc")
    assert not [url for url in asked if "onnx" in url or "vectors" in url or "vendor" in url or "documents" in url]
    assert page.evaluate("caches.keys()") == [f"leaf-st {url}", f"leaf-st {url}sub/"]
    assert page.evaluate("caches.match('earlier.onnx')") is None


def _click(page):
    page.click("#retry")


def _enter(page):
    page.press("#query", "Enter")


@pytest.mark.parametrize(
    ("path", "retry"),
    [
        ("manifest.json", _click),
        ("encoder.js", _click),
        (GRAPH, _enter),
        ("vectors/asymmetric.int8", _click),
        ("documents/", _click),
        ("documents/", _enter),
    ],
)
def test_what_cannot_be_loaded_is_named_and_loaded_at_the_next_attempt(vendored, visit, path, retry):
    address = f"**/{path}*"
    page = visit(vendored, lambda context: context.route(address, lambda route: route.fulfill(status=404)))
    if path.startswith("documents"):
        page.fill("#query", "abc")
    page.wait_for_selector("#status.error", timeout=_WAIT)
    named, rest = page.inner_text("#status").split(" ", maxsplit=1)
    assert named.startswith(path)  # the student decides which files of documents a query needs
    assert rest.startswith("cannot be loaded")
    assert page.locator("#results > li").count() == 0
    page.context.unroute(address)
    retry(page)
    page.fill("#query", "abc")
    page.wait_for_selector("#results > li", timeout=_WAIT)
    assert page.inner_text("#status") == "10 of 200 documents, best first"
    assert not page.locator("#retry").is_visible()
    assert page.messages  # of the browser, about the status 404
    page.messages.clear()


def test_a_text_with_other_tokens_in_the_browser_is_named(vendored, visit, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(vendored, folder)
    for change in (False, True):
        manifest = json.loads((folder / "manifest.json").read_text())
        if change:
            text, ids = manifest["student"]["tokenized"][1]
            ids[2] += 1
            (folder / "manifest.json").write_text(json.dumps(manifest))
        page = visit(folder)
        page.wait_for_selector("#status:text-is('Ready: type a query.')", timeout=_WAIT)
        assert page.is_visible("#warning") == change
    assert f"differ in 1 of 14 sample texts, such as “{text}”: the results of similar" in page.inner_text("#warning")
    assert len(_hits(page, "abc")[0]) == 10


def test_a_changed_script_is_not_run(vendored, visit, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(vendored, folder)
    with (folder / "ranking.js").open("a") as script:
        script.write("// changed")
    page = visit(folder)
    page.wait_for_selector("#status.error", timeout=_WAIT)
    assert page.inner_text("#status").startswith("ranking.js cannot be loaded, or differs from the manifest")
    assert not page.workers
    page.messages.clear()
    with (folder / "page.js").open("a") as script:
        script.write("// changed")
    page = visit(folder)
    assert "If this line stays" in page.inner_text("#status")
    assert "integrity" in page.messages[0]
    page.messages.clear()


def test_the_status_is_ready_and_long_texts_are_cut_at_every_width(finished, documents, node_modules, visit, tmp_path):
    long = [document for document in documents if 24 <= len(document.text.split()) <= 32]  # more than 4 narrow lines
    page = visit(build_site(finished, long, tmp_path / "page", vendor=node_modules).parent)
    page.wait_for_selector("#status:text-is('Ready: type a query.')", timeout=_WAIT)
    assert not page.locator("#progress").is_visible()
    _hits(page, "abc")
    shown = page.locator(".more").first
    for width, has_buttons in ((400, False), (180, True), (400, False)):
        page.set_viewport_size({"width": width, "height": 800})
        shown.wait_for(state="visible" if has_buttons else "detached", timeout=_WAIT)
    page.set_viewport_size({"width": 180, "height": 800})
    shown.click(timeout=_WAIT)
    assert shown.inner_text() == "Show less"


def test_a_page_without_libraries_loads_the_pinned_files_from_the_cdn(
    finished, documents, expected, node_modules, visit, tmp_path
):
    def from_npm(route):
        file = next(file for file in RUNTIME.values() if route.request.url.startswith(file.url))
        kind = "application/wasm" if file.path.endswith("wasm") else "text/javascript"
        headers = {"Access-Control-Allow-Origin": "*", "Content-Type": kind}
        route.fulfill(path=node_modules / file.package / file.path, headers=headers)

    folder = build_site(finished, documents, tmp_path / "page").parent
    page = visit(folder, lambda context: context.route(f"{CDN}/**", from_npm))
    _require_near(page, "abc", expected("abc", k=200), documents)
    assert page.hosts - {""} == {page.url.split("/")[2], CDN.partition("//")[2]}


def test_many_documents_are_found_by_bits_and_ranked_by_int8(
    finished, documents, expected, node_modules, visit, tmp_path, monkeypatch
):
    monkeypatch.setattr(index, "MOST_INT8", 100)
    folder = build_site(finished, documents, tmp_path / "page", vendor=node_modules).parent
    assert (folder / "vectors" / "asymmetric.bits").stat().st_size == 200 * 32 // 8
    page = visit(folder)
    query = "ffe dcb aah"
    texts, scores = _hits(page, query)
    reference = {documents[hit.row].text: hit.score for hit in expected(query, k=200)}
    assert np.allclose(scores, [reference[text] for text in texts], atol=_TOLERANCE)
    shown = [text for path in sorted((folder / "documents").iterdir()) for _, text in json.loads(path.read_text())]
    by_bits = [shown[row] for row in _by_bits(folder, load_model(str(finished / "model")).encode_query(query))]
    least = min(reference[text] for text in texts) + _NEARLY_EQUAL
    # The page compares the int8 codes of 100 documents; near the hundredth place, rounding decides.
    assert {text for text in by_bits[:80] if reference[text] > least} <= set(texts) <= set(by_bits[:120])


def _by_bits(folder, vector):
    """Return the rows of the documents by their dot products with one bit per coordinate, best first."""
    entry = json.loads((folder / "manifest.json").read_text())["indexes"]["asymmetric"]
    codes = np.fromfile(folder / entry["file"], np.uint8).reshape(-1, -(-len(vector) // 8))
    bits = np.unpackbits(codes, axis=1)[:, : len(vector)]
    return np.argsort(-(np.where(bits, entry["above"], entry["below"]) @ vector), kind="stable")


def test_a_damaged_file_is_named(vendored, visit, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(vendored, folder)
    damaged = bytearray((folder / GRAPH).read_bytes())
    damaged[1000] ^= 1
    (folder / GRAPH).write_bytes(damaged)
    page = visit(folder)
    page.wait_for_selector("#status.error", timeout=_WAIT)
    assert f"{GRAPH} differs from the manifest" in page.inner_text("#status")
