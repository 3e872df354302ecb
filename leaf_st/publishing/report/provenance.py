"""The sections on how a student was made: data sets, recipe, versions, training texts and their licences."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from leaf_st.evaluation.measurements.measurement import Section, Table
from leaf_st.evaluation.tasks.public_sets import PUBLIC_SETS, PUBLIC_TEXTS
from leaf_st.publishing.results import Results
from leaf_st.publishing.sections import PageSection, nanobeir_command
from leaf_st.recipe import DOCSTRINGS, PAPER, TextsSpec


def sections(results: Results) -> list[PageSection]:
    """Return the sections of a report that follow the measurements."""
    return [
        *sets_section(results),
        PageSection("recipe", "Recipe", recipe_section(results)),
        PageSection("texts", "Training texts and their licences", texts_section(results)),
    ]


def sets_section(results: Results) -> list[PageSection]:
    """Return the section with the public sources of the measured sets; no section if this package knows no source."""
    names = dict.fromkeys(row.set for rows in results.measured.values() for row in rows if hasattr(row, "set"))
    lines = [[name, PUBLIC_SETS[name]] for name in names if name in PUBLIC_SETS]
    if not lines:
        return []
    text = [
        "Results name a local set by its file or folder. The sets come from these public sources. The command below "
        "evaluates the model on NanoBEIR, which mteb downloads."
    ]
    content = Section(text, tables=[Table("sets", ["set", "public source"], lines, left=2)])
    return [PageSection("sets", "Evaluation sets", content, nanobeir_command(results))]


def recipe_section(results: Results) -> Section:
    """Return every value that shaped the run."""
    record = results.record
    parts = (
        ("recipe", "Values", ["name", "value"], {**record.resolved, "arguments": record.arguments}),
        ("teacher", "Teacher's vectors", ["name", "value"], record.teacher),
        ("versions", "Versions", ["library", "version"], record.versions),
    )
    tables = [
        Table(name, header, [list(line) for line in _flat(values)], left=2, caption=caption)
        for name, caption, header, values in parts
    ]
    text = ["Values that the run used, from its recipe.json, without unset values."]
    return Section(text, tables=[table for table in tables if table.rows])


def texts_section(results: Results) -> Section:
    """Return the sources of the training texts and their licences, as far as they are recorded."""
    sources = results.record.sources
    text, tables = [], []
    if sources:
        lines = [
            [name, *(str(source.get(key) or "-") for key in ("dataset", "commit", "licence"))]
            for name, source in sources.items()
        ]
        text = [
            "Licences as stated by the data sets. Some may not be open: read the licences before you publish a model."
        ]
        tables = [Table("texts", ["source", "dataset", "commit", "licence"], lines, 4)]
    specs = {"Training texts": results.recipe.texts, "General texts": results.recipe.general}
    # The table lists the paper's sources. A student that continues an earlier one may have learned from other texts.
    own = [f"{name}: {_licence(spec)}" for name, spec in specs.items() if spec is not None and spec.source != PAPER]
    return Section([*own, *text, *_excluded(results)], tables=tables)


def _excluded(results: Results) -> list[str]:
    """Return a sentence on the texts that were left out of training, if texts were compared with evaluation sets."""
    count, names = results.record.excluded, results.recipe.texts.exclude
    if count is None or not names:
        return []
    texts = "1 text" if count == 1 else f"{count:,} texts"
    return [
        f"{texts} equal to a text of the evaluation sets {', '.join(names)} (except for case, punctuation and spaces) "
        f"{'was' if count == 1 else 'were'} left out of training."
    ]


def _licence(spec: TextsSpec) -> str:
    if spec.source == DOCSTRINGS:
        return (
            "documentation strings of the Python packages on the machine of the run, each under its package's licence."
        )
    known = f": {PUBLIC_TEXTS[spec.source]}" if spec.source in PUBLIC_TEXTS else ""
    licence = "The run does not record the licence of these texts."
    return f"{spec.source}{known}. {licence}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and value of each value that is set; nested values have dotted names."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None and value != [] and value != "":
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
