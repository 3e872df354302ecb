"""Local sets as tasks of mteb, so that mteb computes their scores. The layout of a set determines its type.

| type | files |
|---|---|
| retrieval | a folder with BEIR's files (`leaf_st.evaluation.beir`) |
| semantic similarity (STS) | a parquet file with ``sentence1``, ``sentence2``, ``score`` |
| pair classification | a parquet file with ``sentence1``, ``sentence2`` and ``label``, 0 or 1 |
| classification | a folder with ``train.parquet`` and ``test.parquet``, each with ``text`` and ``label`` |
| clustering | a parquet file with ``text`` and ``label`` |

Metrics and settings are the same as in mteb's own tasks of each type: classification learns from eight texts of each
class, ten times; clustering uses ten samples of 16,384 texts.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.clustering import AbsTaskClustering
from mteb.abstasks.pair_classification import AbsTaskPairClassification
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskCategory, TaskMetadata, TaskType
from mteb.timing import TimingStack

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import BeirSet, beir_files, is_beir, load_beir, revision_of
from leaf_st.evaluation.beir_rows import as_integer
from leaf_st.evaluation.results import NDCG
from leaf_st.evaluation.set_files import open_parquet, parquet_rows, warn_shortened
from leaf_st.models.identity import hash_files
from leaf_st.texts.content import PACKED

SPLIT = "test"
_PAIR = ("sentence1", "sentence2")
_TRAIN_AND_TEST = ("train.parquet", "test.parquet")


class LocalTask(AbsTask):
    """A local set, which is read when mteb loads it; its revision is the hash of its files.

    Like every task of mteb, the constructor seeds the random generators of Python, NumPy and torch.

    Args:
        path: File or folder of the set.
    """

    kind: ClassVar[TaskType]
    category: ClassVar[TaskCategory]
    main_score: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metadata = TaskMetadata(
            name=path.resolve().stem if path.is_file() else path.resolve().name,
            description=f"The set in a local {'file' if path.is_file() else 'folder'} with this name.",
            dataset={"path": str(path), "revision": self.revision()},
            type=self.kind,
            category=self.category,
            eval_splits=[SPLIT],
            eval_langs=["und-Zzzz"],  # the files do not name their language
            main_score=self.main_score,
        )
        super().__init__()

    @property
    def metadata(self) -> TaskMetadata:  # type: ignore[override]
        """Mteb's metadata of the task; a property, because mteb deletes instance metadata when it unloads the data."""
        return self._metadata

    def load_data(
        self,
        num_proc: int | None = None,
        *,
        timer: TimingStack | None = None,
        **kwargs: Any,  # noqa: ANN401  (all three concern data on the hub)
    ) -> None:
        """Read the files.

        Raises:
            InputError: If the files cannot be used.
        """
        if not self.data_loaded:
            self.dataset = self.read()
            self.data_loaded = True

    def files(self) -> list[Path]:
        """Return the files of the set."""
        return [self.path]

    def revision(self) -> str:
        """Return the revision of the data."""
        return hash_files(self.files())

    @abstractmethod
    def read(self) -> dict[str, Any]:
        """Return the data in the form that mteb's task expects."""


class LocalRetrieval(LocalTask, AbsTaskRetrieval):
    """A folder with BEIR's files."""

    kind, category, main_score = "Retrieval", "t2t", NDCG
    ignore_identical_ids = True

    def files(self) -> list[Path]:
        """Return corpus, queries and qrels."""
        return beir_files(self.path)

    def revision(self) -> str:
        """Return the revision of the set."""
        return revision_of(self.path)

    def read(self) -> dict[str, Any]:
        """Return corpus, queries and qrels; the text of a document is title + " " + text, as in mteb.

        Mteb leaves out of a ranking the document with the id of the query. A query that only shares its id with a
        document gets another id.
        """
        beir = load_beir(self.path)
        names = _distinct_names(beir)
        split = RetrievalSplitData(
            corpus=Dataset.from_list(beir.corpus),
            queries=Dataset.from_list([{**row, "id": names[row["id"]]} for row in beir.queries]),
            relevant_docs={names[key]: judged for key, judged in beir.qrels.items()},
            top_ranked=None,
        )
        return {"default": {SPLIT: split}}


class LocalSTS(LocalTask, AbsTaskSTS):
    """A parquet file of sentence pairs with a score of their similarity."""

    kind, category, main_score = "STS", "t2t", "cosine_spearman"

    def read(self) -> dict[str, Any]:
        """Return the pairs."""
        columns = _read(self.path, _PAIR, "score")
        _require_each(self.path, "score", columns["score"], lambda score: _number(score) is not None, "a number")
        columns["score"] = [_number(score) for score in columns["score"]]
        _require_two(self.path, "score", columns["score"])
        return {SPLIT: _dataset(self.path, columns)}


class LocalPairClassification(LocalTask, AbsTaskPairClassification):
    """A parquet file of sentence pairs that match (label 1) or do not match (label 0)."""

    kind, category, main_score = "PairClassification", "t2t", "max_ap"
    label_column_name = "label"

    def read(self) -> dict[str, Any]:
        """Return the pairs."""
        columns = _read(self.path, _PAIR, "label")
        _require_each(self.path, "label", columns["label"], lambda label: as_integer(label) in (0, 1), "0 or 1")
        columns["label"] = [as_integer(label) for label in columns["label"]]
        _require_two(self.path, "label", columns["label"])
        return {SPLIT: _dataset(self.path, columns)}


class LocalClassification(LocalTask, AbsTaskClassification):
    """A folder with texts and their classes: ``train.parquet`` for training, ``test.parquet`` for testing."""

    kind, category, main_score = "Classification", "t2c", "accuracy"

    def files(self) -> list[Path]:
        """Return both files."""
        return [self.path / name for name in _TRAIN_AND_TEST]

    def read(self) -> dict[str, Any]:
        """Return the texts and the numbers of their classes."""
        train_file, test_file = self.files()
        train, test = _read_labelled(train_file), _read_labelled(test_file)
        _require_two(train_file, "label", train["label"])
        known = set(train["label"])
        _require_common_type(test_file, test["label"], train_file, train["label"])
        _require_each(test_file, "label", test["label"], known.__contains__, f"one of the labels in {train_file.name}")
        classes = _numbers([*train["label"], *test["label"]])
        return {
            "train": _dataset(train_file, {**train, "label": classes[: len(train["label"])]}),
            SPLIT: _dataset(test_file, {**test, "label": classes[len(train["label"]) :]}),
        }


class LocalClustering(LocalTask, AbsTaskClustering):
    """A parquet file of texts and their clusters."""

    kind, category, main_score = "Clustering", "t2c", "v_measure"
    input_column_name = "text"
    label_column_name = "label"
    max_fraction_of_documents_to_embed = None  # all

    def read(self) -> dict[str, Any]:
        """Return the texts and the numbers of their clusters."""
        columns = _read_labelled(self.path)
        _require_two(self.path, "label", columns["label"])
        return {SPLIT: _dataset(self.path, {**columns, "label": _numbers(columns["label"])})}


_TASK_BY_COLUMNS: dict[tuple[str, ...], type[LocalTask]] = {
    (*_PAIR, "score"): LocalSTS,
    (*_PAIR, "label"): LocalPairClassification,
    ("text", "label"): LocalClustering,
}


def local_task(path: Path) -> LocalTask:
    """Return the set in ``path``, a file or folder, as a task of the type that its layout determines.

    Raises:
        InputError: If the layout is unknown.
    """
    if path.is_dir() and all((path / name).is_file() for name in _TRAIN_AND_TEST):
        return LocalClassification(path)
    if path.is_dir() and is_beir(path):
        return LocalRetrieval(path)
    found = [] if path.is_dir() or path.suffix != ".parquet" else open_parquet(path).schema.names
    for columns, kind in _TASK_BY_COLUMNS.items():
        if set(columns) <= set(found):
            return kind(path)
    raise InputError(
        f"task {path}: expected a folder with BEIR's files or with {' and '.join(_TRAIN_AND_TEST)} (text, label), or a "
        f"parquet file with the columns {', or '.join(map(', '.join, _TASK_BY_COLUMNS))}"
        + (f"; found {', '.join(found)}" if found else "")
        + f": {_remedy(path)}"
    )


def _remedy(path: Path) -> str:
    """Return what to do if ``path`` has no known layout."""
    if path.is_dir():
        if sets := sorted(part.name for part in path.iterdir() if part.is_dir() and is_beir(part)):
            return f"name the sets in this folder, such as {path / sets[0]}"
    elif path.suffix.lower() in PACKED:
        return "unpack the file, and name the unpacked folder or file"
    elif folder := next((folder for folder in list(path.parents)[:2] if is_beir(folder)), None):  # perhaps above qrels/
        return f"name the folder {folder}"
    return "convert the set to one of these layouts"


def _distinct_names(beir: BeirSet) -> dict[str, str]:
    """Return a name of each query by id: the id, unless another document has this id."""
    taken = {row["id"] for row in (*beir.corpus, *beir.queries)}
    documents = {row["id"] for row in beir.corpus}
    names = {}
    for key in (row["id"] for row in beir.queries):
        name = key
        if key in documents and key not in beir.own:
            while name in taken:
                name = f"query {name}"
            taken.add(name)
        names[key] = name
    return names


def _read(path: Path, texts: Sequence[str], value: str) -> dict[str, list[Any]]:
    """Return the columns ``texts``, which are checked, and the column ``value``, which is not."""
    found = open_parquet(path).schema.names
    for name in (*texts, value):
        if name not in found:
            raise InputError(f"{path}: expected a column {name}, found {', '.join(found)}: add or rename the column")
    columns: dict[str, list[Any]] = {name: [] for name in (*texts, value)}
    for row in parquet_rows(path, list(columns)):
        for name, cells in columns.items():
            cells.append(row[name])
    for name in texts:
        _require_each(path, name, columns[name], lambda text: isinstance(text, str), "a string")
    return columns


def _read_labelled(path: Path) -> dict[str, list[Any]]:
    columns = _read(path, ("text",), "label")
    if not columns["text"]:
        raise InputError(f"{path}: expected rows with text and label, found no row: add rows")
    _require_each(path, "label", columns["label"], lambda label: _class(label) is not None, "a string or an integer")
    return {**columns, "label": [_class(label) for label in columns["label"]]}


def _dataset(path: Path, columns: dict[str, list[Any]]) -> Dataset:
    """Return ``columns`` of the file ``path``, which are checked, and say which texts were shortened."""
    warn_shortened(path, (cell for cells in columns.values() for cell in cells if isinstance(cell, str)))
    return Dataset.from_dict(columns)


def _class(label: object) -> str | int | None:
    """Return the label of a class, or None if ``label`` is none; a text stays a text."""
    return label if isinstance(label, str) else as_integer(label)


def _require_each(path: Path, column: str, values: Sequence[Any], fits: Callable[[Any], bool], expected: str) -> None:
    for row, value in enumerate(values, start=1):
        if not fits(value):
            raise InputError(f"{path}: {column} of row {row} is {value!r}, expected {expected}: correct the row")


def _require_common_type(path: Path, labels: Sequence[Any], other: Path, known: Sequence[Any]) -> None:
    """Check that some labels of two files have the same type: the text "1" is not the number 1."""
    found, expected = ({type(label).__name__ for label in of} for of in (labels, known))
    if found.isdisjoint(expected):
        raise InputError(
            f"{path}: expected labels of the type {' or '.join(sorted(expected))}, as in {other.name}, found "
            f"{' or '.join(sorted(found))}: write the labels of both files in the same form"
        )


def _require_two(path: Path, column: str, values: Sequence[Any]) -> None:
    if len(set(values)) < 2:
        raise InputError(
            f"{path}: expected at least two different values of {column}, found {values[:1] or 'no row'}: "
            "add rows with other values"
        )


def _number(value: Any) -> float | None:  # noqa: ANN401  (a cell of any file)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _numbers(labels: Sequence[str | int]) -> list[int]:
    """Return ``labels`` as numbers from 0: mteb reads -1 as no cluster, and scikit-learn's averages need numbers."""
    numbers: list[int] = np.unique(labels, return_inverse=True)[1].tolist()
    return numbers
