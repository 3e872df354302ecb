"""The head of a model card: what the hub reads of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData
from mteb.abstasks.task_metadata import TaskMetadata

from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.results import Result
from leaf_st.publishing.hosted import Hosted
from leaf_st.publishing.measured import Measured
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.zoo import LICENCES, ZOO

UNKNOWN, OTHER = "unknown", "other"  # as the hub has it where it knows no name of a licence
RESTRICTED = "restricted-training-texts"


@dataclass(frozen=True)
class Source:
    """Where figures are from that are not of a run.

    Attributes:
        name: What.
        url: Where.
    """

    name: str
    url: str


def card_data(
    measured: Measured, hosted: Hosted, tasks: Mapping[str, TaskMetadata], source: Source | None = None
) -> ModelCardData:
    """Return the metadata.

    Args:
        measured: The run.
        hosted: Its model.
        tasks: What mteb knows of the sets that were measured.
        source: Where the figures are from, if not from here.
    """
    bases = base_models(measured)
    name = licence(measured)
    link = f"https://huggingface.co/{hosted.repo_id}#licences"
    datasets = [of["dataset"] for of in measured.record.sources.values()]
    tags = ["sentence-transformers", "feature-extraction", "sentence-similarity", "leaf", "distillation"]
    if hosted.graphs and not hosted.exported_by:
        tags += ["onnx"]
    mode = shown_mode(hosted)
    results = [_eval_result(row, tasks.get(row.set), source) for row in measured.tasks if row.mode == mode]
    return ModelCardData(
        license=name,
        license_name=RESTRICTED if name == OTHER else None,
        license_link=link if name == OTHER else None,
        language="en" if set(bases) <= LICENCES.keys() else None,  # all of them are of English
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        # A name without an owner is that of a folder; the hub would link it to somebody else's model, or to none.
        base_model=[name for name in bases if "/" in name] or None,
        datasets=[dataset for dataset in datasets if dataset] or None,
        tags=tags,
        model_name=hosted.name,
        eval_results=results or None,
    )


def shown_mode(hosted: Hosted) -> Mode:
    """Return the mode that a model is in as it is published."""
    return "asymmetric" if hosted.asymmetric else "standard"


def base_models(measured: Measured) -> list[str]:
    """Return what the student began from, and its teacher."""
    student = measured.recipe.student
    names = [student.start or student.backbone, measured.recipe.teacher.model]
    return list(dict.fromkeys(ZOO[name].hub_id if name in ZOO else name for name in names if name))


def licence(measured: Measured) -> str:
    """Return the licence that the weights may be said to have.

    It is the teacher's, if those of all weights that they come from are known, and those of the texts are open as far
    as the run knows them.
    """
    if any(name not in LICENCES for name in base_models(measured)):
        return UNKNOWN
    return OTHER if closed_texts(measured) else LICENCES[measured.recipe.teacher.model]


def closed_texts(measured: Measured) -> list[str]:
    """Return the sources of the training texts whose licences are not open, with these."""
    return [
        f"{name} ({of['licence']})"
        for name, of in measured.record.sources.items()
        if name not in SOURCES or not SOURCES[name].is_open
    ]


def _eval_result(row: Result, task: TaskMetadata | None, source: Source | None) -> EvalResult:
    """Return ``row`` for the index of the model; a local set has its name alone."""
    path = task.dataset["path"] if task else row.set
    # mteb says in a sentence that a mean over tasks has no data; and of figures from elsewhere it does not know which.
    data = task.dataset if task and not source and " " not in path else None
    return EvalResult(
        task_type=row.type,
        dataset_type=row.set if " " in path else path,
        dataset_name=f"MTEB {row.set}" if task else row.set,
        dataset_split=task.eval_splits[0] if task and data else None,
        dataset_revision=data["revision"] if data else None,
        metric_type=row.metric,
        metric_name=f"{row.metric} ({row.mode})",
        metric_value=round(row.score, 2),
        source_name=source.name if source else None,
        source_url=source.url if source else None,
    )


def said_of_licence(measured: Measured) -> Sequence[str]:
    """Return what a reader has to know of the licences of weights and texts."""
    said = [f"{name}: {LICENCES.get(name, 'its licence is not known here')}." for name in base_models(measured)]
    if closed := closed_texts(measured):
        said.append(
            f"Training texts that are not open: {', '.join(closed)}. Whoever uses the model has to see what their "
            "terms allow; texts.leave_out of a recipe trains without them."
        )
    return said
