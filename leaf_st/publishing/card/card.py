"""The model card (README.md) of the model of a run. Nothing is measured, and no model is loaded."""

from pathlib import Path

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.results import Result
from leaf_st.hub.target import check_repo_id
from leaf_st.publishing.card.hosted import Hosted, read_hosted
from leaf_st.publishing.card.metadata import published_mode
from leaf_st.publishing.card.render import render
from leaf_st.publishing.leaderboard import MtebResult, find_mteb_results
from leaf_st.publishing.results import Results, read_results, require_results, strip_folders
from leaf_st.run_folder import MODEL, RESULTS, require_run


def card_text(run: Path, repo_id: str, *, asymmetric: bool = False, without_results: bool = False) -> str:
    """Return the card of the model in ``run`` for the repository ``repo_id``.

    Args:
        run: Folder of a run with a trained model.
        repo_id: OWNER/NAME on the hub.
        asymmetric: Whether the repository also contains the teacher, for documents.
        without_results: Allow a card without results.

    Raises:
        InputError: If ``run`` is not such a folder, its results cannot be used, it has none, or the teacher cannot be
            in the repository.
    """
    check_repo_id(repo_id)
    require_run(run)
    require_results(run, without_results)
    results = read_results(run)
    if asymmetric and not (teacher := results.recipe.teacher).is_loaded:
        raise InputError(f"teacher {teacher.name} cannot be saved as one model: leave out --asymmetric")
    return run_card(results, read_hosted(run / MODEL, repo_id, asymmetric=asymmetric))


def run_card(results: Results, hosted: Hosted) -> str:
    """Return the card of a run with ``results`` for the model ``hosted``."""
    tasks = {name: found.task for name, found in mteb_results(results, hosted).items()}
    return render(strip_folders(results), hosted, tasks)


def mteb_results(results: Results, hosted: Hosted) -> dict[str, MtebResult]:
    """Return the published results on registered tasks of mteb, by task."""
    return find_mteb_results(results.run / RESULTS, published_rows(results, hosted))


def published_rows(results: Results, hosted: Hosted) -> list[Result]:
    """Return the scores in the mode that the model is published in."""
    mode = published_mode(hosted)
    return [row for row in results.rows(TASKS) if row.mode == mode]
