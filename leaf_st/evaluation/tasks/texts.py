"""The texts of tasks: what a student reads when a task measures the student."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from datasets import Dataset
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.retrieval import AbsTaskRetrieval

from leaf_st.evaluation.beir import document_text
from leaf_st.evaluation.tasks.load import loaded

_BATCH = 1000
# Types of tasks name their columns of texts differently. The other columns with text are ids, classes and languages.
_NO_TEXTS = re.compile(r"(^|[_-])(id|ids|label|labels|lang|language)([_-]|$)", re.IGNORECASE)


def texts_of(task: AbsTask) -> Iterator[str]:
    """Yield the texts of the splits that ``task`` evaluates, and of the split from which a classifier learns.

    A document with a title is yielded twice: the text alone, and the title with the text. Texts may repeat. Memory does
    not grow with the number of texts, as far as mteb maps the files of its data.

    Raises:
        InputError: If the data cannot be loaded.
    """
    if isinstance(task, AbsTaskAggregate):
        for part in task.metadata.tasks:
            yield from texts_of(part)
        return
    data = loaded(task)
    splits = {*data.eval_splits, getattr(data, "train_split", None)}
    for name, split in _splits(data.dataset or {}):
        if name not in splits:
            continue
        if isinstance(data, AbsTaskRetrieval):
            yield from _cells(split["queries"])
            yield from _documents(split["corpus"])
        else:
            yield from _cells(split)


def _splits(dataset: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield name and content of each split; the data set may have a level of subsets, such as languages, above them."""
    for name, value in dataset.items():
        if isinstance(value, Dataset) or "corpus" in value:
            yield name, value
        else:
            yield from _splits(value)


def _documents(corpus: Dataset) -> Iterator[str]:
    for batch in corpus.iter(_BATCH):
        for title, text in zip(batch.get("title") or [""] * len(batch["text"]), batch["text"], strict=True):
            yield text
            yield document_text({"title": title or "", "text": text})


def _cells(rows: Dataset) -> Iterator[str]:
    """Yield every text in the columns of ``rows``, also texts in lists."""
    for batch in rows.select_columns([name for name in rows.column_names if not _NO_TEXTS.search(name)]).iter(_BATCH):
        yield from _strings(batch)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)
