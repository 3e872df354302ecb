"""Results on tasks that mteb knows: for the hub's leaderboards, and in the layout of mteb's results repository.

A local set may have the name of such a task; it is told apart by the revision of its data.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mteb
import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.model_meta import ModelMeta
from mteb.results import TaskResult

from leaf_st.evaluation.results import Result
from leaf_st.evaluation.sizes import Size
from leaf_st.evaluation.tasks.encoder import meta_of
from leaf_st.evaluation.tasks.runner import CACHE
from leaf_st.models.identity import Identity
from leaf_st.publishing.hosted import Hosted

EVAL_RESULTS = ".eval_results"  # where the hub looks for them in a model's folder
SOURCE = "https://github.com/embeddings-benchmark/mteb"


@dataclass(frozen=True)
class Registered:
    """What mteb kept of a task that it knows.

    Attributes:
        task: What mteb says of it.
        path: The file.
        result: What is in it.
        is_of_several: Whether it is a mean over other tasks, and has no data of its own.
    """

    task: TaskMetadata
    path: Path
    result: TaskResult
    is_of_several: bool


def registered(results: Path, rows: Iterable[Result]) -> dict[str, Registered]:
    """Return what mteb kept in a results folder of those of ``rows`` that are on data that it knows, by task."""
    cache = mteb.ResultCache(results / CACHE)
    return {row.set: found for row in rows if (found := _registered(cache, row)) is not None}


def _registered(cache: mteb.ResultCache, row: Result) -> Registered | None:
    meta = meta_of(_identity(row))
    found = cache.load_task_result(row.set, meta)
    if found is None:
        return None
    try:
        task = mteb.get_task(row.set)
    except KeyError:
        return None
    if found.dataset_revision != task.metadata.revision:
        return None
    path = cache.get_task_result_path(row.set, meta)
    return Registered(task.metadata, path, found, isinstance(task, AbsTaskAggregate))


def _identity(row: Result) -> Identity:
    """Return the model under which mteb keeps ``row``, as `leaf_st.evaluation.tasks.runner` names it."""
    identity = Identity(row.model, row.revision or "")
    if row.mode != "asymmetric":
        return identity
    return identity.with_teacher(Identity(row.teacher or "", row.teacher_revision or ""))


def write_eval_results(folder: Path, found: Mapping[str, Registered]) -> None:
    """Write a file for each task to ``.eval_results`` of ``folder``, but for those without data of their own."""
    for name, of in found.items():
        if not of.is_of_several:
            path = folder / EVAL_RESULTS / f"{name}.yaml"
            path.parent.mkdir(exist_ok=True)
            entries = eval_result_entries_to_yaml(list(_entries(of)))
            path.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")


def _entries(of: Registered) -> Iterator[EvalResultEntry]:
    """Yield the score of each split and subset, and of the whole, under the ids that mteb gives them."""
    scores = [
        (f"{of.task.name}_{subset['hf_subset']}_{split}", subset["main_score"])
        for split, subsets in of.result.scores.items()
        for subset in subsets
    ]
    for task_id, score in [*scores, (of.task.name, of.result.get_score())]:
        yield EvalResultEntry(
            dataset_id=of.task.dataset["path"],
            task_id=task_id,
            value=round(100 * float(score), 5),
            dataset_revision=of.task.dataset["revision"],
            date=of.result.date.date().isoformat() if of.result.date else None,
            source_url=SOURCE,
            source_name="MTEB",
            notes=f"mteb {of.result.mteb_version}",
        )


def published_meta(hosted: Hosted, size: Size | None, revision: str) -> ModelMeta:
    """Return what mteb is told of a model as it is published."""
    known = {
        "name": hosted.repo_id,
        "revision": revision,
        "n_parameters": size.parameters if size else None,
        "embed_dim": size.dimension if size else None,
        "max_tokens": hosted.length,
        "open_weights": True,
        "framework": ["Sentence Transformers", "safetensors"],
        "reference": f"https://huggingface.co/{hosted.repo_id}",
        "use_instructions": any(hosted.prompts.values()),
    }
    return ModelMeta.create_empty(known)


def write_results_repository(folder: Path, found: Mapping[str, Registered], meta: ModelMeta) -> None:
    """Write the files of ``found`` as mteb's results repository has them: ``results/OWNER__NAME/REVISION/TASK.json``.

    Args:
        folder: Made if absent.
        found: What was measured.
        meta: The model as it is published.
    """
    cache = mteb.ResultCache(folder)
    for name, of in found.items():
        path = cache.get_task_result_path(name, meta)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(of.path, path)
        described = json.dumps(meta.to_dict(), default=str, indent=4)
        (path.parent / "model_meta.json").write_text(described, encoding="utf-8")
