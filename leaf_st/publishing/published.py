"""The cards of the paper's own models: figures that others published, each with its source, none measured here."""

import json
from importlib.resources import files
from pathlib import Path

import mteb
from pydantic import BaseModel

from leaf_st.evaluation.latency_table import PAPER_TABLE_8, speed_lines
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.results import Result
from leaf_st.evaluation.sizes import Size
from leaf_st.export.encoder import GRAPHS
from leaf_st.publishing.card import Elsewhere, render
from leaf_st.publishing.cost import latency_table
from leaf_st.publishing.hosted import Hosted
from leaf_st.publishing.measured import Measured, Record
from leaf_st.publishing.metadata import Source
from leaf_st.publishing.section import Section
from leaf_st.publishing.table import Table
from leaf_st.recipe import KINDS, Recipe, TeacherSpec
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.zoo import PAPER_STUDENT, PAPER_TEXTS, PAPER_TRAINING, ZOO, ZooModel

_LENGTH = 512  # tokens, as the models' configs on the hub have it


class _Beside(BaseModel):
    """A mean that stands elsewhere too, and differs."""

    what: str
    standard: float
    asymmetric: float | None = None
    source: str
    url: str


class _Figures(BaseModel):
    """A table of the paper."""

    source: str
    url: str
    beside: list[_Beside]
    columns: list[str]
    rows: list[list[str | float | None]]


def published_names() -> list[str]:
    """Return the models that have published figures."""
    return list(ZOO)


def published_card(name: str) -> str:
    """Return the card of a model of the zoo."""
    model, figures = ZOO[name], _figures(name)
    hosted = Hosted(
        model.hub_id,
        {kind: model.teacher.prompts.get(kind, "") for kind in KINDS},
        _LENGTH,
        model.teacher.normalized,
        list(GRAPHS),
        exported_by=f"leaf-st export {name}",
        folder=name,
    )
    measured = published_results(name)
    return render(
        measured,
        hosted,
        {task: mteb.get_task(task).metadata for task in dict.fromkeys(row.set for row in measured.tasks)},
        Elsewhere(
            Source(figures.source, figures.url),
            model.licence,
            f"Nothing here was measured by this package. Scores of the tasks: {figures.source}, {figures.url}; means "
            "and retention are computed from them. Speed: Table 8 of the same paper. Sizes: section 3 of it.",
            "The recipe of this package after the paper (2.1 and 2.2); its head names what the paper does not say: "
            f"recipes/{name.replace('-', '_')}.py. The authors have not published theirs.",
            [_beside(figures), _speed(name, model)],
        ),
    )


def published_results(name: str) -> Measured:
    """Return what is published of a model of the zoo, in the form of a run's results."""
    model = ZOO[name]
    teacher = model.teacher
    spec = TeacherSpec(model=teacher.hub_id, revision=teacher.revision, prompts=teacher.prompts, max_length=_LENGTH)
    recipe = Recipe(name=name, texts=PAPER_TEXTS, teacher=spec, student=PAPER_STUDENT, training=PAPER_TRAINING)
    texts = {key: {"dataset": of.hub_id, "commit": None, "licence": of.licence} for key, of in SOURCES.items()}
    record = Record(resolved=json.loads(json.dumps(recipe.to_dict())), sources=texts)
    sizes = [
        Size("teacher", teacher.hub_id, teacher.revision, teacher.parameters * 10**6, teacher.dimension),
        Size("student", model.hub_id, model.revision, model.parameters * 10**6, teacher.dimension),
    ]
    return Measured(
        run=Path(name),
        record=record,
        recipe=recipe,
        training=[],
        alignment=[],
        sizes=sizes,
        tasks=_results(model, _figures(name)),
        compression=[],
        index=[],
        margin=[],
        latency=[],
        exported=[],
        samples=[],
        speed={},
    )


def _figures(name: str) -> _Figures:
    found = files("leaf_st.publishing").joinpath(f"published/{name}.json").read_text(encoding="utf-8")
    return _Figures.model_validate_json(found)


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


def _beside(figures: _Figures) -> Section:
    lines = [
        [of.what, of.source, of.url, f"{of.standard:.2f}", "-" if of.asymmetric is None else f"{of.asymmetric:.2f}"]
        for of in figures.beside
    ]
    text = ["What is published of the same means in another place than the paper."]
    table = Table("beside", ["mean", "source", "where", "standard", "asymmetric"], lines, left=3)
    return Section("beside", "Elsewhere", text, tables=[table])


def _speed(name: str, model: ZooModel) -> Section:
    found = [speed for speed in PAPER_TABLE_8 if speed.model in (name, model.teacher.hub_id)]
    text = ["Two vCPUs of an AWS EC2 i3.large, ONNX Runtime, texts of MS MARCO (paper G, Table 8)."]
    return Section("latency", "Latency", text, tables=[latency_table(speed_lines(found))])
