"""What every test may use: tiny real models, built once, and no network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any of the libraries is imported

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from leaf_st.evaluation import latency
from leaf_st.models.random_weights import WIDTH, save_tiny_teacher
from leaf_st.student.build import build_student
from leaf_st.teacher.local import LocalTeacher

pytest_plugins = ["measured_runs"]  # fixtures that several folders use


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Sums of several threads differ in their last bits, and threads only wait for each other at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def no_settling() -> Iterator[None]:
    """What settles before it is timed is the libraries on a machine, not these models, of which many are timed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "_SETTLED", 0.0)
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
