"""Results on registered tasks of mteb: files for the hub's leaderboards and for mteb's results repository.

A local set may have the name of a registered task. The revision of its data tells the two apart.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import mteb
import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.model_meta import ModelMeta
from mteb.results import TaskResult

from leaf_st.atomic import read_json, replace_folder
from leaf_st.evaluation.results import Result
from leaf_st.evaluation.sizes import Size
from leaf_st.evaluation.tasks.encoder import model_meta
from leaf_st.evaluation.tasks.queries import without_query_scores
from leaf_st.evaluation.tasks.runner import CACHE
from leaf_st.models.identity import Identity
from leaf_st.publishing.card.hosted import Hosted

EVAL_RESULTS = ".eval_results"  # folder of a model repository that the hub's leaderboards read
SOURCE = "https://github.com/embeddings-benchmark/mteb"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MtebResult:
    """The result on a registered task, as mteb stored it.

    Attributes:
        task: mteb's metadata of the task.
        path: The file of the result.
        result: Contents of the file.
        is_aggregate: Whether the score is a mean over other tasks. Such a task has no data itself.
    """

    task: TaskMetadata
    path: Path
    result: TaskResult
    is_aggregate: bool


def find_mteb_results(folder: Path, rows: Iterable[Result]) -> dict[str, MtebResult]:
    """Return mteb's results for ``rows``, by task.

    Args:
        folder: Results folder of the run.
        rows: Scores. A row is skipped if its data is not the data of the registered task.
    """
    cache = mteb.ResultCache(folder / CACHE)
    return {row.set: found for row in rows if (found := _find(cache, row)) is not None}


def warn_unlisted(rows: Iterable[Result], found: Mapping[str, MtebResult]) -> None:
    """Log the registered tasks among ``rows`` whose scores no leaderboard gets, because ``found`` lacks them."""
    for name in dict.fromkeys(row.set for row in rows if row.set not in found):
        with suppress(KeyError):  # a set of the user's own
            mteb.get_task(name)
            _logger.warning(
                "%s: expected mteb's result on the data of its task %s, found none: the card has the score, but "
                "leaderboards do not get it; run `leaf-st evaluate` again if you measured that task",
                *(name, name),
            )


def _find(cache: mteb.ResultCache, row: Result) -> MtebResult | None:
    meta = model_meta(_identity(row))
    try:
        found = cache.load_task_result(row.set, meta)
    except ValueError:  # a process that was killed while mteb wrote leaves an incomplete file
        return None
    if found is None:
        return None
    try:
        task = mteb.get_task(row.set)
    except KeyError:
        return None
    if found.dataset_revision != task.metadata.revision:
        return None
    path = cache.get_task_result_path(row.set, meta)
    return MtebResult(task.metadata, path, found, isinstance(task, AbsTaskAggregate))


def _identity(row: Result) -> Identity:
    """Return the name and revision of mteb's result for ``row`` (see `leaf_st.evaluation.tasks.runner`)."""
    identity = Identity(row.model, row.revision or "")
    if row.mode != "asymmetric":
        return identity
    return identity.with_teacher(Identity(row.teacher or "", row.teacher_revision or ""))


def write_eval_results(folder: Path, results: Mapping[str, MtebResult]) -> None:
    """Write a file for each task to ``.eval_results`` in ``folder``. Aggregates are skipped: they have no data."""
    for name, result in results.items():
        if not result.is_aggregate:
            path = folder / EVAL_RESULTS / f"{name}.yaml"
            path.parent.mkdir(exist_ok=True)
            entries = eval_result_entries_to_yaml(list(_entries(result)))
            path.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")


def _entries(found: MtebResult) -> Iterator[EvalResultEntry]:
    """Yield the score of each split and subset, and the main score of the task, under mteb's ids."""
    scores = [
        (f"{found.task.name}_{subset['hf_subset']}_{split}", subset["main_score"])
        for split, subsets in found.result.scores.items()
        for subset in subsets
    ]
    for task_id, score in [*scores, (found.task.name, found.result.get_score())]:
        yield EvalResultEntry(
            dataset_id=found.task.dataset["path"],
            task_id=task_id,
            value=round(100 * float(score), 5),
            dataset_revision=found.task.dataset["revision"],
            date=found.result.date.date().isoformat() if found.result.date else None,
            source_url=SOURCE,
            source_name="MTEB",
            notes=f"mteb {found.result.mteb_version}",
        )


def published_meta(hosted: Hosted, size: Size | None, revision: str) -> ModelMeta:
    """Return mteb's metadata of the published model."""
    values = {
        "name": hosted.repo_id,
        "revision": revision,
        "n_parameters": size.parameters if size else None,
        "embed_dim": size.dimension if size else None,
        # The teacher of a pair may read more of a document than the student reads of a query.
        "max_tokens": None if hosted.asymmetric else hosted.length,
        "open_weights": True,
        "framework": ["Sentence Transformers", "safetensors"],
        "reference": f"https://huggingface.co/{hosted.repo_id}",
        "use_instructions": any(hosted.prompts.values()),
    }
    return ModelMeta.create_empty(values)


def replace_results_repository(folder: Path, results: Mapping[str, MtebResult], meta: ModelMeta) -> None:
    """Write ``results`` in the layout of mteb's results repository: ``results/OWNER__NAME/REVISION/TASK.json``.

    Args:
        folder: Folder to replace; deleted if there are no results.
        results: Results by task.
        meta: The published model.
    """
    if results:
        replace_folder(folder, lambda fresh: _write_results_repository(fresh, results, meta))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _write_results_repository(folder: Path, results: Mapping[str, MtebResult], meta: ModelMeta) -> None:
    cache = mteb.ResultCache(folder)
    for name, result in results.items():
        path = cache.get_task_result_path(name, meta)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(without_query_scores(read_json(result.path)), indent=2), encoding="utf-8")
        text = json.dumps(meta.to_dict(), default=str, indent=4)
        (path.parent / "model_meta.json").write_text(text, encoding="utf-8")
