"""From a run to the folder that goes to the hub: model, card, list of files, in RUN/publish."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.atomic import is_temporary, replace_folder, write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.sizes import require_same_sizes
from leaf_st.hub.manifest import MANIFEST, read_manifest, write_manifest
from leaf_st.models.identity import identify
from leaf_st.models.portable import add_requirement, save_portable
from leaf_st.publishing.bare import bare
from leaf_st.publishing.card import card_text, of_mteb, require_results
from leaf_st.publishing.hosted import Hosted, read_hosted
from leaf_st.publishing.measured import Measured, read_measured
from leaf_st.publishing.registered import Registered, published_meta, write_eval_results, write_results_repository
from leaf_st.publishing.verify import PUBLISH, Check, require_run, verify
from leaf_st.student.asymmetric import compose
from leaf_st.student.load import load_student, load_teacher, read_record, teacher_of

CARD = "README.md"
_RECORD = "recipe.json"
MTEB_RESULTS = "mteb-results"  # folder of a run, in the layout of mteb's repository of results


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
    require_run(run)
    require_results(run, without_results)
    student = load_student(str(run / "model"))
    require_same_sizes(run / "results", {"student": (identify(student), student)}, "move them away and measure again")
    model = compose(student, _teacher(run, student)) if asymmetric else student
    card = card_text(run, repo_id, asymmetric=asymmetric, without_results=without_results)
    hosted, measured = read_hosted(run / "model", repo_id, asymmetric=asymmetric), read_measured(run)
    found = of_mteb(measured, hosted)
    replace_folder(run / PUBLISH, lambda fresh: _fill(fresh, run, card, found, model, asymmetric))
    _fill_results_repository(measured, hosted, found)
    return model


def _teacher(run: Path, student: SentenceTransformer) -> SentenceTransformer:
    try:
        return load_teacher(teacher_of(str(run / "model")), student)
    except InputError as error:
        raise InputError(f"the teacher, which goes along with --asymmetric, cannot be had: {error}") from error


def _fill(
    folder: Path, run: Path, card: str, found: Mapping[str, Registered], model: SentenceTransformer, asymmetric: bool
) -> None:
    """Put ``model`` into the new ``folder``: the one of ``run`` as it is, or its composition; and what describes it."""
    record = bare(read_record(run / "model")) or None
    if asymmetric:
        save_portable(model, folder, record)
    else:
        shutil.copytree(run / "model", folder, ignore=_left)
        add_requirement(model, folder)  # runs of before have none
        if record:
            write_json(folder / _RECORD, record)
    if not (folder / CARD).is_file():
        (folder / CARD).write_text(card, encoding="utf-8")
    write_eval_results(folder, found)
    write_manifest(folder)


def _fill_results_repository(measured: Measured, hosted: Hosted, found: Mapping[str, Registered]) -> None:
    """Put what mteb's own repository of results would take of a run beside what goes to the hub."""
    folder = measured.run / MTEB_RESULTS
    if found:
        # Its tag is the one name that a publication has before it is one.
        revision = read_manifest(measured.run / PUBLISH / MANIFEST).tag
        size = next((row for row in measured.sizes if row.role == "student"), None)
        meta = published_meta(hosted, size, revision)
        replace_folder(folder, lambda fresh: write_results_repository(fresh, found, meta))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _left(folder: str, names: list[str]) -> list[str]:
    """Name what does not go along: what a kill left, and the record, which holds paths of this machine."""
    return [name for name in names if is_temporary(Path(folder, name)) or name == _RECORD]
