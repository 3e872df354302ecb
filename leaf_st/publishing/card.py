"""The model card: what a run and its results say of its model, as README.md. Nothing is measured or loaded here."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mteb.abstasks.task_metadata import TaskMetadata

from leaf_st.errors import InputError
from leaf_st.evaluation.results import TASKS, Result
from leaf_st.evaluation.rows import read_rows
from leaf_st.export.encoder import GraphKind
from leaf_st.publishing import cost, headline, provenance, quality
from leaf_st.publishing.bare import without_folders
from leaf_st.publishing.hosted import Hosted, read_hosted
from leaf_st.publishing.markdown import as_code, environment
from leaf_st.publishing.measured import Measured, read_measured
from leaf_st.publishing.metadata import Source, card_data, closed_texts, said_of_licence, shown_mode
from leaf_st.publishing.registered import Registered, registered
from leaf_st.publishing.section import Section
from leaf_st.publishing.snippet import onnx_snippet
from leaf_st.publishing.verify import require_run

_RESULTS: tuple[Callable[[Measured], Section], ...] = (
    quality.tasks,
    cost.compression,
    cost.index,
    quality.margin,
    cost.latency,
)


@dataclass(frozen=True)
class Elsewhere:
    """What a card says of a model that others made and measured.

    Attributes:
        source: Where its scores are from.
        licence: That they gave it.
        obtained: Where all figures are from.
        recipe: What its recipe is.
        sections: More results.
    """

    source: Source
    licence: str
    obtained: str
    recipe: str
    sections: Sequence[Section]


def card_text(run: Path, repo_id: str, *, asymmetric: bool = False, without_results: bool = False) -> str:
    """Return the card of the model in ``run`` as it is published under ``repo_id``.

    Args:
        run: Folder of a run with a trained model.
        repo_id: OWNER/NAME.
        asymmetric: The teacher is published along, for documents.
        without_results: Let the card have no results.

    Raises:
        InputError: If ``run`` is no such folder, its results cannot be used, or there are none.
    """
    require_run(run)
    require_results(run, without_results)
    hosted = read_hosted(run / "model", repo_id, asymmetric=asymmetric)
    measured = read_measured(run)
    tasks = {name: of.task for name, of in of_mteb(measured, hosted).items()}
    return render(without_folders(measured), hosted, tasks)


def require_results(run: Path, without_results: bool = False) -> None:
    """Look whether ``run`` has results, if it must.

    Raises:
        InputError: If it has none.
    """
    path = run / "results" / TASKS
    if not (without_results or (path.is_file() and read_rows(path, Result))):
        raise InputError(
            f"{run / 'results'} holds no results for the card: `leaf-st evaluate` measures some, or go on with "
            "--without-results"
        )


def of_mteb(measured: Measured, hosted: Hosted) -> dict[str, Registered]:
    """Return the results on tasks that mteb knows, in the mode that the model is published in."""
    mode = shown_mode(hosted)
    return registered(measured.run / "results", [row for row in measured.tasks if row.mode == mode])


def render(
    measured: Measured,
    hosted: Hosted,
    tasks: Mapping[str, TaskMetadata],
    elsewhere: Elsewhere | None = None,
) -> str:
    """Return the card from the template.

    Args:
        measured: What was measured, or published, without paths.
        hosted: The model.
        tasks: What mteb knows of the sets that were measured.
        elsewhere: What is said of a model that is not of a run.
    """
    head = card_data(measured, hosted, tasks, elsewhere.source if elsewhere else None)
    made = provenance.recipe(measured)
    if elsewhere:
        head.license, head.license_name, head.license_link = elsewhere.licence, None, None
        made = replace(made, text=[elsewhere.recipe])
    named = replace(measured, run=Path(hosted.name))  # in commands
    sections = [make(named) for make in (*_RESULTS, *([cost.exported] if hosted.graphs else []))]
    sections = [replace(section, missing=(), command="" if elsewhere else section.command) for section in sections]
    sections += elsewhere.sections if elsewhere else []
    template = environment().get_template("card.md.jinja")
    text = template.render(
        head=as_code(head.to_yaml()),
        hosted=hosted,
        measured=measured,
        recipe=measured.recipe,
        dimension=next((row.dimension for row in measured.sizes if row.role == "student"), None),
        lead=headline.lead(measured),
        facts=headline.facts(measured),
        tiles=[tile for tile in headline.tiles(measured) if tile.value],
        quoted=lambda text: as_code(json.dumps(text, ensure_ascii=False)),
        code=as_code,
        snippet=as_code(_snippet(hosted)),
        elsewhere=elsewhere,
        versions=_versions(measured),
        sections=[section for section in sections if section.tables],
        made=made,
        texts=provenance.texts(measured),
        licence=head.license,
        licences=said_of_licence(measured),
        closed=closed_texts(measured),
    )
    # A lone surrogate in somebody's text has no bytes.
    return text.encode(errors="replace").decode()


def _snippet(hosted: Hosted) -> str:
    if not hosted.graphs or hosted.length is None:
        return ""
    kind: GraphKind = "onnx int8" if "onnx int8" in hosted.graphs else hosted.graphs[0]
    return onnx_snippet(hosted.name, hosted.prompts, hosted.length, kind)


def _versions(measured: Measured) -> str:
    """Return the versions that scores depend on."""
    known = measured.record.versions
    return ", ".join(f"{name} {known[name]}" for name in ("mteb", "sentence-transformers", "torch") if name in known)
