"""A run as it may be shown to others: models and files by name, without the folders of a machine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from leaf_st.publishing.measured import Measured, Record
from leaf_st.recipe import Recipe


def without_folders(measured: Measured) -> Measured:
    """Return ``measured`` with the last part alone of each path."""
    tasks = [replace(row, path=bare(row.path)) for row in measured.tasks]
    record = Record.model_validate(bare(measured.record.model_dump()))
    timed = [
        replace(row, model=bare(row.model), teacher=bare(row.teacher), texts=bare(row.texts))
        for row in measured.latency
    ]
    exported = [replace(row, texts=bare(row.texts)) for row in measured.exported]
    recipe = Recipe.from_dict(record.resolved)
    return replace(measured, record=record, recipe=recipe, tasks=tasks, latency=timed, exported=exported)


def bare(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """Return a JSON value with the last part alone of each path in it."""
    if isinstance(value, dict):
        return {key: bare(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bare(item) for item in value]
    return Path(value).name if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    if text.startswith(("~/", "./", "../")) or (len(text) > 1 and Path(text).is_absolute()):
        return True
    return "/" in text and len(text) < 1024 and Path(text).exists()
