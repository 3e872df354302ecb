"""What every test may use: tiny real models, built once, and no network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any of the libraries is imported

import gc
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hub import connect
from huggingface_hub import close_session
from sentence_transformers import SentenceTransformer
from sentence_transformers.base import model_card

from leaf_st.evaluation import timing
from leaf_st.models import precision
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH, save_tiny_teacher
from leaf_st.student.asymmetric import compose
from leaf_st.student.build import build_student
from leaf_st.teacher.local import LocalTeacher
from leaf_st.texts import docstrings
from leaf_st.zoo import ZOO

pytest_plugins = ["measured_runs"]  # fixtures that several folders use


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Sums of several threads differ in their last bits, and threads only wait for each other at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def no_search_for_garbage_in_the_libraries() -> None:
    """Each training collects garbage first, for which Python looks at all objects: the libraries have a million."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_seeds_for_devices_that_are_missing() -> Iterator[None]:
    """torch keeps each seed for a missing GPU with a formatted stack, which takes 2 ms; mteb seeds for each task."""
    with pytest.MonkeyPatch.context() as patch:
        for device in (torch.cuda, torch.xpu, torch.mtia):
            if not device.is_available():
                patch.setattr(device, "manual_seed_all", lambda seed: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def processor_without_bfloat16() -> Iterator[None]:
    """A teacher in bfloat16 is loaded twice, to measure its error; tests of this precision ask for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "bfloat16_is_fast", lambda device: False)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_search_for_versions() -> Iterator[None]:
    """sentence-transformers reads the metadata of two packages for each model, which takes 10 ms."""
    versions = model_card.get_versions()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_card, "get_versions", lambda: dict(versions))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_settling() -> Iterator[None]:
    """What settles before it is timed is the libraries on a machine, not these models, of which many are timed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "_WARM_UP_SECONDS", 0.0)
        yield


@pytest.fixture(autouse=True, scope="session")
def docstrings_of_the_standard_library() -> Iterator[None]:
    """To list the modules of all installed packages takes a second, and many tests read documentation strings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docstrings, "_installed", lambda: [Path(sysconfig.get_path("stdlib")).resolve()])
        yield


@pytest.fixture(scope="session")
def tiny_teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_teacher(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="session")
def tiny_unnormalized_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_teacher(tmp_path_factory.mktemp("models") / "unnormalized", normalized=False)


@pytest.fixture
def tiny_teacher(tiny_teacher_folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_teacher_folder), device="cpu")


def _student(folder: Path, width: int) -> SentenceTransformer:
    # With most weights two equal documents of different grades tie among the first ten hits, where nDCG depends on the
    # order of ties; with these they come later.
    torch.manual_seed(13)
    return build_student(folder, dimension=width, normalized=True, layers=(0, 2), device="cpu")


@pytest.fixture
def tiny_student(tiny_teacher_folder: Path) -> SentenceTransformer:
    return _student(tiny_teacher_folder, WIDTH)


@pytest.fixture
def narrow_student(tiny_teacher_folder: Path) -> SentenceTransformer:
    return _student(tiny_teacher_folder, WIDTH // 2)


@pytest.fixture
def local_teacher(tiny_teacher: SentenceTransformer) -> LocalTeacher:
    return LocalTeacher(tiny_teacher, "tiny", "0")


@pytest.fixture
def published(tiny_student: SentenceTransformer, tiny_teacher: SentenceTransformer, tmp_path: Path) -> dict[str, Path]:
    """Folders by hub id: a student with prompts, and its teacher, as the hub holds them."""
    tiny_student.prompts = {"query": "find: ", "document": ""}
    save_portable(tiny_student, tmp_path / "published" / "student")
    tiny_teacher.save_pretrained(str(tmp_path / "published" / "teacher"))
    for side in ("student", "teacher"):
        for name in ("README.md", "LICENSE"):
            (tmp_path / "published" / side / name).write_text(f"{name} of the {side}")
    model = ZOO["leaf-ir"]
    return {
        model.hub_id: tmp_path / "published" / "student",
        model.teacher.hub_id: tmp_path / "published" / "teacher",
    }


@pytest.fixture
def composed(
    published: dict[str, Path], tiny_student: SentenceTransformer, tiny_teacher: SentenceTransformer
) -> SentenceTransformer:
    """The composition of both models in ``published``."""
    tiny_teacher.prompts = dict(tiny_student.prompts)
    return compose(tiny_student, tiny_teacher)


@pytest.fixture
def connect_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that lets this process use the hub at an address, with an empty cache and without waits."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    yield lambda url: connect(monkeypatch, url, tmp_path / "home")
    close_session()


@pytest.fixture
def quick_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an export write the packed graph in place of the standard one, for which torch takes seconds."""
    from leaf_st.export import onnx, packed

    monkeypatch.setattr(onnx, "standard_graph", packed.packed_graph)


@pytest.fixture(scope="session")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retrieval set of two documents and a query."""
    folder = tmp_path_factory.mktemp("beir") / "tiny"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text('{"_id": "d", "text": "some text"}\n{"_id": "e", "text": "another"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "some"}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    return folder
