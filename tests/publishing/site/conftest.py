"""Documents, and the JavaScript libraries of a page."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from letters import words

from leaf_st.errors import InputError
from leaf_st.export.packed import packed_graph
from leaf_st.publishing.site import build
from leaf_st.publishing.site.runtime import RUNTIME, check_vendor
from leaf_st.texts.documents import Document

_INSTALLED = Path(__file__).parents[3] / "build" / "site-runtime"


@pytest.fixture(autouse=True, scope="module")
def _quick_graphs():
    """Let graphs be made without torch, which takes seconds for each; the test of the demo exports with torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "standard_graph", packed_graph)
        yield


@pytest.fixture(scope="session")
def documents():
    """Documents of different lengths; the first has a text and a title that look like HTML."""
    draw = np.random.default_rng(3)
    texts = [words(draw, length) for length in draw.integers(2, 30, 199)]
    markup = Document("<b onclick=x>abc</b> <script>alert(1)</script>", "<i>abc</i>", "<b onclick=x>abc</b>\n&amp;")
    return [markup, *(Document(text, "" if place % 3 else text[:3], text) for place, text in enumerate(texts))]


@pytest.fixture(scope="session")
def node_modules():
    """The folder of npm with the pinned packages, installed once into build/."""
    modules = _INSTALLED / "node_modules"
    try:
        check_vendor(modules)
    except InputError:
        if (npm := shutil.which("npm")) is None:
            pytest.skip("npm not found: install Node.js to test the search page with its JavaScript libraries")
        _INSTALLED.mkdir(parents=True, exist_ok=True)
        (_INSTALLED / "package.json").write_text('{"private": true}')
        packages = sorted({f"{file.package}@{file.version}" for file in RUNTIME.values()})
        command = [npm, "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", *packages]
        done = subprocess.run(command, cwd=_INSTALLED, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"npm cannot install {' '.join(packages)}: {done.stderr.strip()[:300]}")
        check_vendor(modules)
    return modules
