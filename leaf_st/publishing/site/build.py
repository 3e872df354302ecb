"""`leaf-st site`: a folder with a search page that any file server can serve."""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.atomic import make_folder, replace_folder
from leaf_st.errors import InputError
from leaf_st.evaluation.embedder import Embedder
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.evaluation.ranking import length_is_free
from leaf_st.export.encoder import OnnxEncoder
from leaf_st.export.export import check_exportable
from leaf_st.export.onnx import standard_graph
from leaf_st.export.parity import TextsByKind, form_vectors, parity, torch_vectors
from leaf_st.export.weight_only import write_weight_only
from leaf_st.hub.target import MOST_FILES
from leaf_st.models.load import load_model
from leaf_st.models.prompts import prompt_for
from leaf_st.models.tokens import copy_tokenizer, max_length_of
from leaf_st.publishing.site.index import CODES_PER_FILE, Shape, chunks_of, neighbours_together, write_index
from leaf_st.publishing.site.manifest import foreign_file, is_site, write_compact, write_manifest
from leaf_st.publishing.site.runtime import CDN, RUNTIME, check_vendor, copy_vendor
from leaf_st.run_folder import MODEL, read_run, require_run
from leaf_st.student.static import is_static
from leaf_st.teacher.open import open_teacher, teacher_spec
from leaf_st.teacher.protocol import Teacher
from leaf_st.texts.documents import Document

GRAPH = "student.onnx"
TEXTS_PER_FILE = 128  # documents whose texts a browser loads together
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_ASSETS = ("page.js", "worker.js", "encoder.js", "files.js", "ranking.js", "highlight.js", "style.css")
_COMPARED = ("cosine", "dot")
_COMPARED_TEXTS, _LEAST_COSINE = 64, 0.999
# Texts whose tokens the page compares, besides some documents. The library in the browser ignores some settings of
# tokenizers, which change the tokens of rare characters or of compatible forms.
_TOKENIZED = (
    "How is a small model trained to give the vectors of a large one?",
    "Größe, NAÏVE café, Москва, Ελλάδα",
    "今天天气很好。東京の天気、서울 날씨",
    "السلام عليكم नमस्ते สวัสดี",
    "ＡＢＣ ｶﾞ ① ﬁ",  # noqa: RUF001  (compatible forms)
    "𠮷野家 🍃",
)
_TOKENIZED_DOCUMENTS, _TOKENIZED_CHARACTERS = 8, 100

_logger = logging.getLogger(__name__)


def build_site(
    run: Path,
    documents: Sequence[Document],
    output: Path,
    *,
    modes: Sequence[Mode] = ("asymmetric",),
    dimensions: int | None = None,
    vendor: Path | None = None,
) -> Path:
    """Write a search page over ``documents`` to the folder ``output``, completely or not at all.

    Args:
        run: A run folder with a trained student.
        documents: The documents.
        output: A new or empty folder, or an earlier page, which is replaced, without other files.
        modes: "asymmetric" for documents that the teacher embeds, "standard" for documents that the student embeds. The
            page opens with the first.
        dimensions: Number of leading coordinates to keep (MRL); all if None.
        vendor: The folder ``node_modules`` from which the JavaScript libraries are copied; from a CDN if None.

    Returns:
        The page.

    Raises:
        InputError: If the run, the documents, the output, the dimensions or the libraries cannot be used.
    """
    check_options(run, output, modes, vendor)
    if not documents:
        raise InputError("site: expected documents, found none: name a file with texts")
    if (chunks := chunks_of(len(documents))) > MOST_FILES:
        _logger.warning(
            "a page of %s documents has %s files in a folder, and the hub allows %s: serve the page from another host",
            *(f"{number:,}" for number in (len(documents), chunks, MOST_FILES)),
        )
    student = load_model(str(run / MODEL))
    _check_student(student)
    teacher = None
    if "asymmetric" in modes:
        teacher = open_teacher(teacher_spec(str(run / MODEL), prompts=student.prompts))
    dimension = _dimension(student, dimensions)
    with tqdm(desc="documents", unit="text", total=len(documents) * len(modes)) as bar:
        embedder = Embedder(teacher=teacher, student=student, modes=modes, progress=bar.update)
        for mode in modes:
            _check_similarity(embedder, mode)
        texts = [document.embedded for document in documents]
        vectors = {mode: embedder.embed(mode, "document", texts) for mode in modes}
    order = neighbours_together(vectors[modes[0]])
    documents = [documents[row] for row in order]
    vectors = {mode: of_mode[order] for mode, of_mode in vectors.items()}
    units = {length_is_free(embedder.document_model(mode), vectors[mode]) for mode in modes}
    shape = Shape(dimension, units == {True})
    make_folder(output.absolute().parent)
    fill = partial(_fill, run=run, student=student, teacher=teacher, documents=documents, vectors=vectors, shape=shape)
    replace_folder(output.absolute(), lambda folder: fill(folder, vendor=vendor))
    return output / "index.html"


def check_options(run: Path, output: Path, modes: Sequence[Mode], vendor: Path | None) -> None:
    """Check the arguments of `build_site` that can be checked before documents are read.

    Raises:
        InputError: If one of them cannot be used.
    """
    require_run(run)
    if unknown := [mode for mode in modes if mode not in STUDENT_MODES] or not modes:
        raise InputError(f"--modes: expected some of {', '.join(STUDENT_MODES)}, found {unknown}: correct the modes")
    if len(set(modes)) < len(modes):
        raise InputError(f"--modes: expected each mode once, found {' '.join(modes)}: leave out the repetition")
    if vendor is not None:
        check_vendor(vendor)
    if output.is_file() or (output.is_dir() and any(output.iterdir()) and not is_site(output)):
        raise InputError(
            f"--output {output}: expected a new folder or an earlier search page, found other files: name another one"
        )
    if is_site(output) and (foreign := foreign_file(output)) is not None:
        raise InputError(
            f"--output {output}: expected only the files of an earlier search page, found {foreign}, which would be "
            "removed: build the page in another folder and copy its files"
        )
    if output.resolve() in (run.resolve(), *run.resolve().parents, Path.cwd()):
        raise InputError(f"--output {output}: expected a folder of its own, found one in use: name another one")


def _check_student(student: SentenceTransformer) -> None:
    if is_static(student):
        raise InputError(
            "site: expected a student with a transformer, found a static student, which has no graph for a browser: "
            "name the run of another student, or search with `leaf-st search`"
        )
    check_exportable(student)


def _dimension(student: SentenceTransformer, asked: int | None) -> int:
    width = student.get_embedding_dimension() or 0
    if asked is not None and not 0 < asked <= width:
        raise InputError(f"--dimensions {asked}: expected 1 to {width}, the width of the vectors: correct the number")
    return asked or width


def _check_similarity(embedder: Embedder, mode: Mode) -> None:
    name = embedder.document_model(mode).similarity_fn_name
    if name not in _COMPARED:
        raise InputError(
            f"site: expected a model that compares vectors by {' or '.join(_COMPARED)}, found {name}: use another model"
        )


def _fill(
    folder: Path,
    *,
    run: Path,
    student: SentenceTransformer,
    teacher: Teacher | None,
    documents: Sequence[Document],
    vectors: Mapping[Mode, NDArray[np.float32]],
    shape: Shape,
    vendor: Path | None,
) -> None:
    folder.mkdir(parents=True)
    name = str(read_run(run)["recipe"].get("name") or run.resolve().name)
    indexes = {mode: write_index(folder, mode, found, shape) for mode, found in vectors.items()}
    _write_documents(folder / "documents", documents)
    if vendor is not None:
        copy_vendor(vendor, folder)
    runtime = {key: file.url if vendor is None else file.vendored for key, file in RUNTIME.items()}
    _write_page(folder, name, list(indexes), remote=vendor is None)
    student_settings = _write_student(folder, student, [document.embedded for document in documents[:_COMPARED_TEXTS]])
    settings = {
        "leaf_st": version("leaf-st"),
        "name": name,
        "teacher": None if teacher is None else teacher.identity.name,
        "student": student_settings,
        "count": len(documents),
        "texts_per_file": TEXTS_PER_FILE,
        "codes_per_file": CODES_PER_FILE,
        "dimension": shape.dimension,
        "unit": shape.unit,
        "indexes": indexes,
        "runtime": runtime,
        "scripts": [name for name in _ASSETS if name.endswith(".js")],
    }
    remote: dict[str, dict[str, int | str]] = {
        file.url: {"bytes": file.bytes, "sha256": file.sha256} for file in RUNTIME.values()
    }
    write_manifest(folder, settings, remote if vendor is None else None)


def _write_student(folder: Path, student: SentenceTransformer, texts: Sequence[str]) -> dict[str, Any]:
    """Write graph and tokenizer; return what the page needs to know to turn a query into tokens."""
    _logger.info("making the graph of the student for the browser")
    write_weight_only(standard_graph(student), folder / GRAPH)
    _require_parity(folder / GRAPH, student, texts)
    tokenizer = copy_tokenizer(student)
    closing = tokenizer.encode("a").special_tokens_mask[::-1].index(0)
    longest, prompt = max_length_of(student), prompt_for(student.prompts, "query")
    tokenized = [*_TOKENIZED, *(text[:_TOKENIZED_CHARACTERS] for text in texts[:_TOKENIZED_DOCUMENTS])]
    tokens = [tokenizer.encode(prompt + text).ids for text in tokenized]
    tokenizer.no_truncation()  # the library in the browser does not truncate
    (folder / _TOKENIZER[0]).write_text(tokenizer.to_str(), encoding="utf-8")
    write_compact(folder / _TOKENIZER[1], {"model_max_length": longest})
    return {
        "graph": GRAPH,
        "tokenizer": _TOKENIZER[0],
        "tokenizer_config": _TOKENIZER[1],
        "prompt": prompt,
        "max_length": longest,
        "closing": closing,
        "tokenized": list(zip(tokenized, tokens, strict=True)),
    }


def _require_parity(graph: Path, student: SentenceTransformer, texts: Sequence[str]) -> None:
    """Refuse a graph whose vectors of ``texts`` as queries are far from those of ``student``."""
    queries: TextsByKind = {"query": texts}
    cosine = parity(form_vectors(OnnxEncoder(graph, student), queries), torch_vectors(student, queries)).cosine
    if not cosine >= _LEAST_COSINE:
        raise InputError(
            f"site: expected a graph of 8-bit weights with a mean cosine of at least {_LEAST_COSINE} to the student, "
            f"found {cosine:.4f}: this student loses too much in 8 bits; train it longer, or use another student"
        )


def _write_documents(folder: Path, documents: Sequence[Document]) -> None:
    folder.mkdir()
    for number, start in enumerate(range(0, len(documents), TEXTS_PER_FILE)):
        rows = [[document.title, document.text] for document in documents[start : start + TEXTS_PER_FILE]]
        write_compact(folder / f"{number:05}.json", rows)


def _write_page(folder: Path, name: str, modes: Sequence[Mode], *, remote: bool) -> None:
    assets = files("leaf_st.publishing.site").joinpath("assets")
    for asset in _ASSETS:
        (folder / asset).write_bytes(assets.joinpath(asset).read_bytes())
    environment = Environment(
        loader=PackageLoader("leaf_st.publishing.site", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    labels = {"asymmetric": "the teacher", "standard": "the student"}
    title = f"Search with {name}"
    page = environment.get_template("index.html.jinja").render(
        title=title,
        hosts=f" {CDN}" if remote else "",
        modes=[(mode, labels[mode]) for mode in modes],
        integrity={name: _integrity(folder / name) for name in _ASSETS},
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    card = environment.get_template("README.md.jinja").render(title=Markup(json.dumps(title)))  # YAML reads JSON
    (folder / "README.md").write_text(card, encoding="utf-8")


def _integrity(path: Path) -> str:
    """Return the hash of a file as HTML names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()}"
