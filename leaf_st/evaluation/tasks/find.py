"""Finding tasks by name: benchmarks and tasks of mteb, and local sets."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import mteb
from mteb.abstasks.abstask import AbsTask

from leaf_st.errors import InputError
from leaf_st.evaluation.tasks.local import local_task


def find_tasks(names: Sequence[str]) -> list[AbsTask]:
    """Return the tasks that ``names`` select, without duplicates; local sets are read once to check them.

    Args:
        names: Files and folders (see `leaf_st.evaluation.tasks.local`), benchmarks such as "NanoBEIR" or
            "MTEB(eng, v2)", and tasks such as "SciFact".

    Raises:
        InputError: If there is no name, a name is unknown, a set cannot be used, a task has inputs other than texts or
            private data, or two tasks share a name.
    """
    if not names:
        raise InputError("tasks: expected at least one set or task, found none: name one")
    found: dict[str, AbsTask] = {}
    for task in (task for name in names for task in _named(name)):
        title = task.metadata.name
        if task.modalities != ["text"]:
            raise InputError(
                f"task {title}: expected a task of texts, found {', '.join(task.modalities)}: name another task"
            )
        first = found.setdefault(title, task)
        if first.metadata != task.metadata:
            paths = " and ".join(other.metadata.dataset["path"] for other in (first, task))
            raise InputError(
                f"tasks {paths} have the same name, {title}: measure them one by one, with an --output for each"
            )
        if _part(first) != _part(task):
            raise InputError(
                f"task {title} is selected twice, with different parts ({_difference(first, task)}): measure the tasks "
                "and benchmarks one by one, with an --output for each"
            )
    if private := [title for title, task in found.items() if not task.metadata.is_public]:
        raise InputError(
            f"tasks {', '.join(private)}: their data are private: name other tasks, or only the public tasks of the "
            "benchmark"
        )
    return list(found.values())


def _part(task: AbsTask) -> tuple[set[str], set[str]]:
    """Return the subsets and the splits to measure, of which a benchmark may select some."""
    return set(task.hf_subsets), set(task.eval_splits)


def _difference(first: AbsTask, second: AbsTask) -> str:
    """Return what one of two selections of a task has, and the other has not."""
    both = zip(_part(first), _part(second), strict=True)
    return ", ".join(name for one, other in both for name in sorted(one ^ other))


def _named(name: str) -> list[AbsTask]:
    if Path(name).exists():
        task = local_task(Path(name))
        task.read()  # reports its errors before the first set is measured
        return [task]
    try:
        return list(mteb.get_benchmark(name).tasks)
    except KeyError:
        pass
    try:
        return [mteb.get_task(name)]
    except KeyError:
        raise InputError(
            f"task {name}: expected a file, a folder, or a task of mteb, found nothing with this name"
            f"{_suggestion(name)}"
        ) from None


def _suggestion(name: str) -> str:
    """Return the end of an error message: the nearest names of mteb's text tasks and benchmarks and of local files."""
    above = Path(name).parent
    nearby = [str(path) for path in above.iterdir()] if above.is_dir() and above.name else []
    tasks = mteb.get_tasks(modalities=["text"], exclusive_modality_filter=True, exclude_superseded=False)
    known = [
        *nearby,
        *(benchmark.name for benchmark in mteb.get_benchmarks()),
        *(task.metadata.name for task in tasks),
    ]
    by_lower = {title.lower(): title for title in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3)
    return f"; did you mean {' or '.join(by_lower[title] for title in near)}?" if near else ": check the name"
