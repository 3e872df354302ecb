"""The head of a model card: the metadata that the hub reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData
from mteb.abstasks.task_metadata import TaskMetadata

from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.results import Result
from leaf_st.publishing.card.hosted import Hosted
from leaf_st.publishing.results import Results
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.zoo import LICENCES, can_give

UNKNOWN, OTHER = "unknown", "other"  # the hub's words for licences without a name
RESTRICTED = "restricted-training-texts"


@dataclass(frozen=True)
class ScoreSource:
    """The source of figures that no run measured.

    Attributes:
        name: Name of the publication.
        url: Its address.
    """

    name: str
    url: str


def card_data(
    results: Results, hosted: Hosted, tasks: Mapping[str, TaskMetadata], source: ScoreSource | None = None
) -> ModelCardData:
    """Return the metadata.

    Args:
        results: Results of the run.
        hosted: The published model.
        tasks: mteb's metadata by name of the measured task.
        source: Source of the scores; None if the run measured them.
    """
    bases = base_models(results)
    name = licence(results)
    link = f"https://huggingface.co/{hosted.repo_id}#licences"
    datasets = [source["dataset"] for source in results.record.sources.values()]
    tags = ["sentence-transformers", "feature-extraction", "sentence-similarity", "leaf", "distillation"]
    if hosted.graphs and not hosted.exported_by:
        tags += ["onnx"]
    mode = published_mode(hosted)
    scores = [_eval_result(row, tasks.get(row.set), source) for row in results.rows(TASKS) if row.mode == mode]
    return ModelCardData(
        license=name,
        license_name=RESTRICTED if name == OTHER else None,
        license_link=link if name == OTHER else None,
        language="en" if set(bases) <= LICENCES.keys() else None,  # all of them are English models
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        # A name without an owner is a folder. The hub would link the name to an unrelated model, or to none.
        base_model=[name for name in bases if "/" in name] or None,
        datasets=[dataset for dataset in datasets if dataset] or None,
        tags=tags,
        model_name=hosted.name,
        eval_results=scores or None,
    )


def published_mode(hosted: Hosted) -> Mode:
    """Return the mode in which the published repository encodes."""
    return "asymmetric" if hosted.asymmetric else "standard"


def base_models(results: Results) -> list[str]:
    """Return the models that the weights come from: the start or backbone of the student, and the teacher."""
    student = results.recipe.student
    names = [student.start or student.backbone, *_teachers(results)]
    return list(dict.fromkeys(name for name in names if name))


def _teachers(results: Results) -> list[str]:
    """Return the names of the teacher's models, without a name that given vectors of an earlier version cannot have."""
    teacher, width = results.recipe.teacher, results.record.teacher.get("dimension")
    if not teacher.embeds_new_texts and width is not None:
        return [name for name in teacher.names if can_give(name, width)]
    return list(teacher.names)


def licence(results: Results) -> str:
    """Return the licence of the weights for the card.

    This is the teacher's licence, or the licence that all members of an ensemble share, if the licences of all models
    that the weights come from are known, and all recorded licences of training texts are open.
    """
    teachers = _teachers(results)
    if not teachers or any(name not in LICENCES for name in base_models(results)):
        return UNKNOWN
    licences = {LICENCES[name] for name in teachers}
    return OTHER if closed_texts(results) or len(licences) > 1 else licences.pop()


def closed_texts(results: Results) -> list[str]:
    """Return the sources of training texts whose licences are not open, each with its licence."""
    return [
        f"{name} ({source['licence']})"
        for name, source in results.record.sources.items()
        if name not in SOURCES or not SOURCES[name].is_open
    ]


def _eval_result(row: Result, task: TaskMetadata | None, source: ScoreSource | None) -> EvalResult:
    """Return ``row`` as an entry of the model index. For a local set, only the name is known."""
    path = task.dataset["path"] if task else row.set
    # If a task is a mean over others, mteb has a sentence in place of a path. The authors of published figures may have
    # used another split and revision than mteb.
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


def licence_notes(results: Results) -> Sequence[str]:
    """Return the notes on the licences of weights and texts."""
    notes = [f"{name}: {LICENCES.get(name, 'licence not known to this package')}." for name in base_models(results)]
    if closed := closed_texts(results):
        notes.append(
            f"Training texts that are not open: {', '.join(closed)}. Check their terms before you use the model. The "
            "recipe's texts.leave_out trains without them."
        )
    return notes
