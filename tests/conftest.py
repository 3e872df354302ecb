"""What every test may use: tiny real models, built once, and no network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any of the libraries is imported

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from leaf_st.student.build import build_student
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.tiny import WIDTH, save_tiny_teacher


@pytest.fixture(scope="session")
def tiny_teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_teacher(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="session")
def tiny_unnormalized_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_teacher(tmp_path_factory.mktemp("models") / "unnormalized", normalized=False)


@pytest.fixture
def tiny_teacher(tiny_teacher_folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_teacher_folder), device="cpu")


@pytest.fixture
def tiny_student(tiny_teacher_folder: Path) -> SentenceTransformer:
    return build_student(tiny_teacher_folder, dimension=WIDTH, normalized=True, layers=(0, 2), device="cpu")


@pytest.fixture
def local_teacher(tiny_teacher: SentenceTransformer) -> LocalTeacher:
    return LocalTeacher(tiny_teacher, "tiny", "0")
