"""The data of a task, loaded by mteb: a local set, or a data set on the hub."""

import copy

from datasets.exceptions import DatasetNotFoundError, DatasetsError
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.retrieval import AbsTaskRetrieval

from leaf_st.errors import InputError, cannot_write
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
    except (OSError, ValueError, RuntimeError, HTTPError, DatasetsError) as error:
        source, (reason, remedy) = task.metadata.dataset["path"], _explained(error)
        raise InputError(
            f"task {task.metadata.name}: its data, {source} on the hub, cannot be loaded ({reason}): {remedy}"
        ) from error
    if isinstance(fresh, AbsTaskRetrieval):
        fresh.convert_v1_dataset_format_to_v2(num_proc=None)
    return fresh


def _explained(error: Exception) -> tuple[str, str]:
    """Return the first line of the reason, and the remedy."""
    # datasets wraps whatever fails while it writes the tables of a data set.
    cause = error.__cause__ if isinstance(error, DatasetsError) and isinstance(error.__cause__, Exception) else error
    reason = (str(cause) or type(cause).__name__).partition("\n")[0]
    if cannot_write(cause) or "disk space" in reason:
        remedy = "free some space, or set HF_HOME to a folder that has space and can be written"
    elif isinstance(error, DatasetNotFoundError):
        remedy = "if the data set is gated, ask for access and run `hf auth login`, or name another task"
    elif isinstance(error, DatasetsError):
        remedy = "delete the data set from the cache (`hf cache ls` and `hf cache rm`), or name another task"
    else:
        remedy = "run the command once with a network connection, or name a local set"
    return reason, remedy
