"""The text of a card, from its template. All values are escaped, so that no name can break the Markdown."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from string import Template

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from mteb.abstasks.task_metadata import TaskMetadata

from leaf_st.evaluation.measurements import registry
from leaf_st.evaluation.measurements.compression import COMPRESSION
from leaf_st.evaluation.measurements.export import EXPORT
from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.export.forms import ExportForm, get_form, recommended_form
from leaf_st.models.prompts import prompt_for
from leaf_st.publishing.card.hosted import Hosted
from leaf_st.publishing.card.metadata import ScoreSource, card_data, closed_texts, licence_notes
from leaf_st.publishing.report import headline, provenance
from leaf_st.publishing.results import Results
from leaf_st.publishing.sections import PageSection, measured_section
from leaf_st.teacher.open import kind_of

# Every character that starts markup within a line of GitHub's Markdown, or ends a table cell.
_SPECIAL = re.compile(r"([\\`*_\[\]{}|#~$<>])")


@dataclass(frozen=True)
class PublishedFigures:
    """What a card states about a model that others trained and measured.

    Attributes:
        source: Source of the scores.
        licence: Licence that the authors gave the model.
        origin: Sources of all figures.
        recipe: Origin of the recipe.
        sections: Further results.
    """

    source: ScoreSource
    licence: str
    origin: str
    recipe: str
    sections: Sequence[PageSection]


def render(
    results: Results, hosted: Hosted, tasks: Mapping[str, TaskMetadata], published: PublishedFigures | None = None
) -> str:
    """Return the card.

    Args:
        results: Results without paths of this machine.
        hosted: The published model.
        tasks: mteb's metadata by name of the measured task.
        published: Statements about a model that others trained; None for the model of a run.
    """
    head = card_data(results, hosted, tasks, published.source if published else None)
    recipe = provenance.recipe_section(results)
    if published:
        head.license, head.license_name, head.license_link = published.licence, None, None
        recipe = replace(recipe, text=[published.recipe])
    student, teacher_size = results.size("student"), results.size("teacher")
    form = recommended_form(hosted.graphs)
    kind = kind_of(results.recipe.teacher)
    revision = str(results.record.teacher.get("revision", ""))
    teacher = kind.code(results.recipe.teacher, hosted.repo_id, hosted.prompts.get("document") or "", revision)
    text = (
        _environment()
        .get_template("card.md.jinja")
        .render(
            head=as_code(head.to_yaml()),
            hosted=hosted,
            results=results,
            recipe=results.recipe,
            dimension=student.dimension if student else None,
            lead=headline.lead(results),
            facts=headline.facts(results),
            tiles=[tile for tile in headline.tiles(results) if tile.value],
            quoted=lambda text: as_code(json.dumps(text, ensure_ascii=False)),
            code=as_code,
            snippet=as_code(_snippet(hosted, form)),
            form=form,
            published=published,
            versions=_versions(results),
            measured=bool(results.rows(TASKS)),
            compressed=bool(results.rows(COMPRESSION)),
            sections=_sections(results, hosted, published),
            values=recipe,
            texts=provenance.texts_section(results),
            licence=head.license,
            licences=licence_notes(results),
            closed=closed_texts(results),
            teacher_prompted=kind.gets_student_prompts(results.recipe.teacher),
            document_length=teacher_size.length if teacher_size and hosted.asymmetric else None,
            teacher_imports=as_code(teacher.imports),
            teacher_code=as_code(teacher.lines),
            parts=kind.parts(results.recipe.teacher),
        )
    )
    # UTF-8 cannot encode a lone surrogate, which a user's text may contain.
    return text.encode(errors="replace").decode()


def _sections(results: Results, hosted: Hosted, published: PublishedFigures | None) -> list[PageSection]:
    named = replace(results, run=Path(hosted.name))  # readers know the model by this name
    measured = [
        measured_section(named, measurement)
        for measurement in registry.MEASUREMENTS
        if measurement.on_card and results.rows(measurement) and (measurement is not EXPORT or hosted.graphs)
    ]
    if not published:
        return [*measured, *provenance.sets_section(named)]
    # No command of this package measured the rows.
    return [*(replace(section, command="") for section in measured), *published.sections]


def _environment() -> Environment:
    """Return the environment of the template. It inserts a `markupsafe.Markup` unchanged and escapes other values."""
    return Environment(
        loader=PackageLoader("leaf_st.publishing.card", "."),
        finalize=lambda value: value if isinstance(value, Markup) else escape(str(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def escape(text: str) -> str:
    """Return one line of Markdown that shows ``text`` literally."""
    folded = " ".join(text.replace("&", "&amp;").split())
    # An underscore inside a word starts no markup, and many names contain one.
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", _SPECIAL.sub(r"\\\1", folded))


def as_code(text: str) -> Markup:
    """Mark ``text`` as Markdown that the template inserts unchanged."""
    return Markup(text)


def onnx_snippet(folder: str, prompts: Mapping[str, str | None], length: int, form: str) -> str:
    """Return Python code that encodes with onnxruntime, tokenizers and NumPy, without torch.

    Args:
        folder: The reader's folder with the model.
        prompts: The model's prompts by name.
        length: Maximum number of tokens that the model reads.
        form: Name of the export form to use.
    """
    template = Template(files("leaf_st.publishing.card").joinpath("snippets/onnx.template").read_text(encoding="utf-8"))
    return template.substitute(
        folder=folder,
        length=length,
        graph=get_form(form).file.as_posix(),
        query=json.dumps(prompt_for(prompts, "query"), ensure_ascii=False),
        document=json.dumps(prompt_for(prompts, "document"), ensure_ascii=False),
    )


def _snippet(hosted: Hosted, form: ExportForm | None) -> str:
    if form is None or hosted.length is None:
        return ""
    return onnx_snippet(hosted.name, hosted.prompts, hosted.length, form.name)


def _versions(results: Results) -> str:
    """Return the versions of the libraries that scores depend on."""
    versions = results.record.versions
    names = ("mteb", "sentence-transformers", "torch")
    return ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
