"""The section on how a student was made: its recipe, its texts and their licences, versions."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from leaf_st.publishing.measured import Measured
from leaf_st.publishing.section import Section
from leaf_st.publishing.table import Table
from leaf_st.recipe import DOCSTRINGS, PAPER, TextsSpec


def recipe(measured: Measured) -> Section:
    """Return every value that shaped the run."""
    record = measured.record
    parts = (
        ("recipe", "Values", ["value", "resolved to"], {**record.resolved, "arguments": record.arguments}),
        ("teacher", "Teacher's vectors", ["value", "resolved to"], record.teacher),
        ("versions", "Versions", ["library", "version"], record.versions),
    )
    tables = [
        Table(name, header, [list(line) for line in _flat(values)], left=2, caption=caption)
        for name, caption, header, values in parts
    ]
    text = ["What the run was resolved to, from its recipe.json; values that were not set are left out."]
    return Section("recipe", "Recipe", text, tables=[table for table in tables if table.rows])


def texts(measured: Measured) -> Section:
    """Return where the texts are from, and under which licences, as far as the run knows."""
    sources = measured.record.sources
    title, id_ = "Texts and their licences", "texts"
    text, tables = [], []
    if sources:
        lines = [
            [name, *(str(source.get(key) or "-") for key in ("dataset", "commit", "licence"))]
            for name, source in sources.items()
        ]
        text = ["As each dataset states it. Not all need be open: read them before a model is published."]
        tables = [Table("texts", ["source", "dataset", "commit", "licence"], lines, 4)]
    named = {"Training texts": measured.recipe.texts, "General texts": measured.recipe.general}
    # The paper's are in the table; a student that goes on may have learned from those and from others.
    own = [f"{name}: {_licence(spec)}" for name, spec in named.items() if spec is not None and spec.source != PAPER]
    return Section(id_, title, [*own, *text], tables=tables)


def _licence(spec: TextsSpec) -> str:
    if spec.source == DOCSTRINGS:
        return (
            "documentation strings of the Python packages on the machine of the run, each under its package's licence."
        )
    return f"{spec.source}. The run knows no licence of them: whoever publishes the model has to."


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield key and value of what is set, with the keys of what it lies in."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None and value != [] and value != "":
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
