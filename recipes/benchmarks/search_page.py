"""Time a search page in headless Chromium: the first result of a cold load, the encoding and the ranking of a query.

Command:  leaf-st site RUN --documents FILE --output PAGE --vendor MODULES
          python recipes/benchmarks/search_page.py PAGE --queries FILE [--documents 100000]

PAGE is served from loopback and opened in a new profile, three times. FILE has a query on each line. The same page is
then timed over generated vectors, once as int8 and once as one bit per coordinate with int8 rescoring. The student and
the ranking run in one thread of WebAssembly or JavaScript. The last column is what the server sends for each of the
first ten queries: texts, and codes for rescoring. Generated vectors form groups of 64 neighbours (cosine 0.64), as
documents of one subject do, and neighbours lie in the same file, as in a page of `leaf-st site`. Needs Chromium and the
package playwright.

Result:   recipes/benchmarks/README.md has the table.
"""

import argparse
import functools
import gzip
import http.server
import json
import shutil
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from leaf_st.atomic import read_json
from leaf_st.models.vectors import normalized
from leaf_st.publishing.site import index
from leaf_st.publishing.site.build import TEXTS_PER_FILE
from leaf_st.publishing.site.manifest import MANIFEST, hashes_of, write_manifest
from leaf_st.tables import aligned

_LOADS = 3
_FIRST = 10  # queries
_GROUP, _SPREAD = 64, 0.75  # neighbours of a generated vector, and their distance from the middle of their group
_DOCUMENTS_AND_INDEX = ("documents/", "vectors/")


class _Counting(http.server.SimpleHTTPRequestHandler):
    sent = 0  # bytes of files, over all requests

    def copyfile(self, source: IO[bytes], outputfile: IO[bytes]) -> None:
        content = source.read()
        _Counting.sent += len(content)
        outputfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Counting, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def with_generated_vectors(page: Path, folder: Path, count: int, most_int8: int) -> Path:
    """Return a copy of ``page`` in ``folder`` over ``count`` documents with generated vectors."""
    shutil.copytree(page, folder, ignore=shutil.ignore_patterns("documents", "vectors"))
    manifest = read_json(folder / MANIFEST)
    draw = np.random.default_rng(0)
    width = manifest["dimension"]
    groups = normalized(draw.standard_normal((-(-count // _GROUP), width), dtype=np.float32))
    spread = _SPREAD / width**0.5 * draw.standard_normal((count, width), dtype=np.float32)
    vectors = normalized(groups.repeat(_GROUP, axis=0)[:count] + spread)
    index.MOST_INT8 = most_int8
    entry = index.write_index(folder, "asymmetric", vectors, index.Shape(manifest["dimension"], manifest["unit"]))
    (folder / "documents").mkdir()
    for number in range(-(-count // TEXTS_PER_FILE)):
        (folder / "documents" / f"{number:05}.json").write_text(json.dumps([["", "a text"]] * TEXTS_PER_FILE))
    write_manifest(folder, manifest | {"count": count, "indexes": {"asymmetric": entry}})
    return folder


def first_result(browser: Browser, url: str, query: str) -> tuple[float, Page]:
    """Return the seconds from opening the page in a new profile to the first result, and the page."""
    page = browser.new_context().new_page()
    start = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.fill("#query", query)
    page.wait_for_selector("#results > li")
    return time.perf_counter() - start, page


def query_costs(page: Page, queries: Sequence[str]) -> tuple[list[float], ...]:
    """Return the milliseconds of encoding and of ranking, and the megabytes that the server sent, of each query."""
    costs = []
    for query in queries:
        before = _Counting.sent
        page.fill("#query", query)
        page.press("#query", "Enter")
        page.wait_for_function("query => document.getElementById('results').dataset.query === query", arg=query)
        words = page.inner_text("#time").split()
        costs.append((float(words[0]), float(words[4]), (_Counting.sent - before) / 1e6))
    return tuple(map(list, zip(*costs, strict=True)))


def shown(times: Sequence[float], unit: str) -> str:
    return f"{min(times):.1f} / {statistics.median(times):.1f} {unit}"


def measure(browser: Browser, name: str, folder: Path, queries: Sequence[str]) -> tuple[Any, ...]:
    loads = []
    with served(folder) as url:
        for _ in range(_LOADS):
            seconds, page = first_result(browser, url, queries[0])
            loads.append(seconds)
        encode, rank, sent = query_costs(page, queries[1:])
    mean = statistics.mean(sent[:_FIRST])
    return name, shown(loads, "s"), shown(encode, "ms"), shown(rank, "ms"), f"{mean:.2f} MB"


def compressed_megabytes(folder: Path) -> float:
    """Return the size of all files but documents and index, each compressed by gzip."""
    names = [name for name in hashes_of(folder) if not name.startswith(_DOCUMENTS_AND_INDEX)]
    return sum(len(gzip.compress((folder / name).read_bytes())) for name in names) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, metavar="PAGE", help="page with its libraries (--vendor)")
    parser.add_argument("--queries", type=Path, required=True, metavar="FILE", help="queries, one on a line")
    parser.add_argument("--documents", type=int, default=100_000, metavar="N", help="generated vectors")
    options = parser.parse_args()
    queries = list(dict.fromkeys(line.strip() for line in options.queries.read_text().splitlines() if line.strip()))
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    rows = [("page, fastest / median", "first result", "encode", "rank", "sent for a query")]
    with TemporaryDirectory() as work, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        rows.append(measure(browser, str(options.page), options.page, queries))
        for name, most in (("int8", options.documents), ("binary, int8", 0)):
            folder = with_generated_vectors(options.page, Path(work, name), options.documents, most)
            rows.append(measure(browser, f"{options.documents:,} vectors, {name}", folder, queries))
        browser.close()
    print(aligned(rows))
    print(f"transfer without documents and index: {compressed_megabytes(options.page):.1f} MB (gzip)")


if __name__ == "__main__":
    main()
