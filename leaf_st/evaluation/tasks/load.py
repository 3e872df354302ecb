"""The data of a task, loaded by mteb: a local set, or a data set on the hub."""

import copy

from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.retrieval import AbsTaskRetrieval

from leaf_st.errors import InputError
from leaf_st.evaluation.tasks.local import LocalTask
from leaf_st.hub.settings import check_download


def loaded(task: AbsTask) -> AbsTask:
    """Return a copy of ``task`` with its data and with random generators in their initial state.

    Raises:
        InputError: If the data cannot be loaded.
    """
    fresh = copy.deepcopy(task)
    try:
        if not isinstance(task, LocalTask):
            check_download()
        fresh.load_data()
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        source, reason = task.metadata.dataset["path"], str(error).partition("\n")[0]
        raise InputError(
            f"task {task.metadata.name}: its data, {source} on the hub, cannot be loaded ({reason}): "
            "run the command once with a network connection, or name a local set"
        ) from error
    if isinstance(fresh, AbsTaskRetrieval):
        fresh.convert_v1_dataset_format_to_v2(num_proc=None)
    return fresh
