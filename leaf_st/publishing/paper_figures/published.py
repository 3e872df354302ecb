"""The cards of the paper's own models. Their figures were published by others, each with its source."""

import json
from importlib.resources import files
from pathlib import Path

import mteb
from pydantic import BaseModel

from leaf_st.evaluation.measurements.latency import latency_table, table_8_lines
from leaf_st.evaluation.measurements.latency_rows import PAPER_TABLE_8
from leaf_st.evaluation.measurements.measurement import Section, Table
from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.results import Result
from leaf_st.evaluation.sizes import Size
from leaf_st.export.forms import FORMS
from leaf_st.publishing.card.hosted import Hosted
from leaf_st.publishing.card.metadata import ScoreSource
from leaf_st.publishing.card.render import PublishedFigures, render
from leaf_st.publishing.results import Results, RunRecord
from leaf_st.publishing.sections import PageSection
from leaf_st.recipe import KINDS, Recipe, TeacherSpec
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.zoo import PAPER_STUDENT, PAPER_TEXTS, PAPER_TRAINING, ZOO, ZooModel

_LENGTH = 512  # tokens, from the models' configs on the hub


class _OtherMean(BaseModel):
    """A mean for which another publication states a different value."""

    mean: str
    standard: float
    asymmetric: float | None = None
    source: str
    url: str


class _Figures(BaseModel):
    """A table of the paper, and other publications of its means."""

    source: str
    url: str
    other_means: list[_OtherMean]
    columns: list[str]
    rows: list[list[str | float | None]]


def published_names() -> list[str]:
    """Return the names of the models with published figures."""
    return list(ZOO)


def published_card(name: str) -> str:
    """Return the card of a model of the zoo."""
    model, figures = ZOO[name], _figures(name)
    hosted = Hosted(
        model.hub_id,
        {kind: model.teacher.prompts.get(kind, "") for kind in KINDS},
        _LENGTH,
        model.teacher.normalized,
        [form.name for form in FORMS],
        exported_by=f"leaf-st export {name}",
        folder=name,
    )
    results = published_results(name)
    return render(
        results,
        hosted,
        {task: mteb.get_task(task).metadata for task in dict.fromkeys(row.set for row in results.rows(TASKS))},
        PublishedFigures(
            ScoreSource(figures.source, figures.url),
            model.licence,
            f"This package measured none of these figures. The scores of the tasks are from {figures.source} "
            f"({figures.url}); means and retention are computed from the scores. Speed: Table 8 of the paper. Sizes: "
            "section 3 of the paper.",
            f"This package's recipe, recipes/{name.replace('-', '_')}.py, follows sections 2.1 and 2.2 of the paper. "
            "Its head lists the values that the paper does not state. The authors have not published their recipe.",
            [_other_means(figures), _speed(name, model)],
        ),
    )


def published_results(name: str) -> Results:
    """Return the published figures of a model of the zoo in the form of a run's results."""
    model = ZOO[name]
    teacher = model.teacher
    spec = TeacherSpec(model=teacher.hub_id, revision=teacher.revision, prompts=teacher.prompts, max_length=_LENGTH)
    recipe = Recipe(name=name, texts=PAPER_TEXTS, teacher=spec, student=PAPER_STUDENT, training=PAPER_TRAINING)
    texts = {
        key: {"dataset": source.hub_id, "commit": None, "licence": source.licence} for key, source in SOURCES.items()
    }
    record = RunRecord(resolved=json.loads(json.dumps(recipe.to_dict())), sources=texts)
    sizes = [
        Size("teacher", teacher.hub_id, teacher.revision, teacher.parameters * 10**6, teacher.dimension),
        Size("student", model.hub_id, model.revision, model.parameters * 10**6, teacher.dimension),
    ]
    tasks = _results(model, _figures(name))
    return Results(run=Path(name), record=record, recipe=recipe, measured={TASKS.name: tasks}, sizes=sizes)


def _figures(name: str) -> _Figures:
    text = files("leaf_st.publishing.paper_figures").joinpath(f"{name}.json").read_text(encoding="utf-8")
    return _Figures.model_validate_json(text)


def _results(model: ZooModel, figures: _Figures) -> list[Result]:
    rows = [dict(zip(figures.columns, row, strict=True)) for row in figures.rows]
    return [
        Result(
            set=str(row["set"]),
            mode=mode,
            metric=str(row["metric"]),
            score=float(score),
            model=model.teacher.hub_id if mode == "teacher" else model.hub_id,
            teacher=model.teacher.hub_id,
            seconds=None,
            queries=None,
            documents=None,
            type=str(row["type"]),
        )
        for row in rows
        for mode in ROLES
        if (score := row[mode]) is not None
    ]


def _other_means(figures: _Figures) -> PageSection:
    lines = [
        [row.mean, row.source, row.url, f"{row.standard:.2f}", _cell(row.asymmetric)] for row in figures.other_means
    ]
    table = Table("other-means", ["mean", "source", "address", "standard", "asymmetric"], lines, left=3)
    text = ["Another publication states different values for the same means."]
    return PageSection("other-means", "Other published means", Section(text, tables=[table]))


def _cell(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


def _speed(name: str, model: ZooModel) -> PageSection:
    speeds = [speed for speed in PAPER_TABLE_8 if speed.model in (name, model.teacher.hub_id)]
    text = ["Two vCPUs of an AWS EC2 i3.large, ONNX Runtime, texts of MS MARCO (paper, Appendix G, Table 8)."]
    section = Section(text, tables=[latency_table(table_8_lines(speeds))])
    return PageSection("latency", "Latency", section)
