"""From a run to the folder that goes to the hub: model, card, list of files, in RUN/publish."""

import shutil
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.atomic import is_temporary, replace_folder
from leaf_st.errors import InputError
from leaf_st.evaluation.results import TASKS, read_results
from leaf_st.publishing.card import card_text
from leaf_st.publishing.manifest import write_manifest
from leaf_st.publishing.verify import PUBLISH, Check, is_run, verify
from leaf_st.student.asymmetric import compose
from leaf_st.student.load import load_student, load_teacher, read_record, teacher_of
from leaf_st.student.portable import save_portable

CARD = "README.md"


def prepare(run: Path, repo_id: str, *, asymmetric: bool = False, without_results: bool = False) -> list[Check]:
    """Make ``publish`` of ``run`` anew and check it as `verify` does; returns the checks.

    Args:
        run: Folder of a run with a trained model.
        repo_id: Where it goes, for the card.
        asymmetric: Put the teacher in too, for documents.
        without_results: Let the card have no results.

    Raises:
        InputError: If there is no model, no teacher, or no result, or a check failed.
    """
    model = make_folder(run, repo_id, asymmetric=asymmetric, without_results=without_results)
    checks = verify(run / PUBLISH, model)
    if failed := [check for check in checks if check.state == "failed"]:
        found = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        raise InputError(f"{run / PUBLISH} cannot be published: {found}")
    return checks


def make_folder(run: Path, repo_id: str, *, asymmetric: bool, without_results: bool) -> SentenceTransformer:
    """Make ``publish`` of ``run`` anew, unchecked; returns the model that must be in it. As `prepare`."""
    if not is_run(run):
        raise InputError(f"{run}: expected the folder of a run with a trained model in model/: train one, or name it")
    if not (without_results or _has_results(run)):
        raise InputError(
            f"{run / 'results'} holds no results for the card: `leaf-st evaluate` measures some, or publish with "
            "--without-results"
        )
    model = load_student(str(run / "model"))
    if asymmetric:
        model = compose(model, load_teacher(teacher_of(str(run / "model")), model))
    replace_folder(run / PUBLISH, lambda fresh: _fill(fresh, run, repo_id, model if asymmetric else None))
    return model


def _has_results(run: Path) -> bool:
    path = run / "results" / TASKS
    return path.is_file() and bool(read_results(path))


def _fill(folder: Path, run: Path, repo_id: str, composed: SentenceTransformer | None) -> None:
    """Put the model of ``run`` into the new ``folder``, or the composition in its place, and what describes it."""
    if composed is None:
        shutil.copytree(run / "model", folder, ignore=_temporary)
    else:
        save_portable(composed, folder, read_record(run / "model") or None)
    if not (folder / CARD).is_file():
        (folder / CARD).write_text(card_text(run, repo_id), encoding="utf-8")
    write_manifest(folder)


def _temporary(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if is_temporary(Path(folder, name))]
