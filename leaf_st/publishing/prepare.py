"""The folder RUN/publish, which is uploaded to the hub: the model, its card, and the manifest of its files."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.atomic import is_temporary, replace_folder
from leaf_st.errors import InputError
from leaf_st.evaluation.sizes import require_same_sizes
from leaf_st.hub.manifest import MANIFEST, file_hashes, read_manifest, write_manifest
from leaf_st.hub.target import check_repo_id
from leaf_st.models.identity import identify
from leaf_st.models.intact import without_checksums
from leaf_st.models.load import load_model
from leaf_st.models.portable import add_requirement, save_portable, unwritable_named
from leaf_st.publishing.card.card import card_text, mteb_results, published_rows
from leaf_st.publishing.card.hosted import read_hosted
from leaf_st.publishing.leaderboard import (
    MtebResult,
    published_meta,
    replace_results_repository,
    warn_unlisted,
    write_eval_results,
)
from leaf_st.publishing.results import read_results, require_results, strip_record
from leaf_st.publishing.verify import Check, verify
from leaf_st.run_folder import MODEL, MTEB_RESULTS, PUBLISH, RECIPE, RESULTS, read_record, require_run, write_record
from leaf_st.student.asymmetric import with_teacher
from leaf_st.teacher.open import teacher_spec

CARD = "README.md"

_logger = logging.getLogger(__name__)


def prepare(run: Path, repo_id: str, *, asymmetric: bool = False, without_results: bool = False) -> list[Check]:
    """Replace the folder ``publish`` of ``run`` and check it with `verify`; return the checks.

    Args:
        run: A run folder with a trained model.
        repo_id: The repository on the hub, for the model card.
        asymmetric: Include the teacher, which embeds documents.
        without_results: Allow a model card without results.

    Raises:
        InputError: If the model, the teacher or the results are missing, ``publish`` has files that were edited or
            added, or a check failed.
    """
    model = make_folder(run, repo_id, asymmetric=asymmetric, without_results=without_results)
    checks = verify(run / PUBLISH, model)
    if failed := [check for check in checks if check.state == "failed"]:
        reasons = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        raise InputError(f"{run / PUBLISH} cannot be published: {reasons}: correct {run / MODEL} and try again")
    return checks


def make_folder(run: Path, repo_id: str, *, asymmetric: bool, without_results: bool) -> SentenceTransformer:
    """Replace the folder ``publish`` of ``run`` without checks; return the model it must contain. See `prepare`."""
    check_repo_id(repo_id)
    require_run(run)
    require_results(run, without_results)
    _require_only_written_files(run, asymmetric)
    student = load_model(str(run / MODEL))
    require_same_sizes(run / RESULTS, {"student": (identify(student), student)}, "move them away and measure again")
    model = _add_teacher(student, run) if asymmetric else student
    card = card_text(run, repo_id, asymmetric=asymmetric, without_results=without_results)
    hosted, results = read_hosted(run / MODEL, repo_id, asymmetric=asymmetric), read_results(run)
    scores = mteb_results(results, hosted)
    warn_unlisted(published_rows(results, hosted), scores)
    replace_folder(run / PUBLISH, lambda fresh: _fill(fresh, run, card, scores, model, asymmetric))
    tag = read_manifest(run / PUBLISH / MANIFEST).tag  # the only name of the content before the upload
    replace_results_repository(run / MTEB_RESULTS, scores, published_meta(hosted, results.size("student"), tag))
    return model


def _require_only_written_files(run: Path, asymmetric: bool) -> None:
    """Check that the folder ``publish`` of ``run``, which is replaced, has only files as they were written there."""
    name = _foreign_file(run / PUBLISH)
    if name is None:
        return
    path, kept = run / PUBLISH / name, run / MODEL / name
    if name == CARD:
        remedy = f"merge it into {kept}" if kept.exists() else f"move it to {kept}"
        raise InputError(
            f"{path}: expected the card that leaf-st push wrote, found an edited one: {remedy} to publish the "
            f"edited card, or delete {path} to publish a generated card"
        )
    would_be_published = not (asymmetric or kept.exists() or any(map(_is_left_out, Path(name).parts)))
    remedy = f"move it to {kept} to publish it" if would_be_published else "move it to another folder"
    raise InputError(
        f"{path}: expected only files as leaf-st push wrote them, found an added or edited one, which would be "
        f"deleted: {remedy}, or delete it"
    )


def _foreign_file(folder: Path) -> str | None:
    """Return the first file in a published ``folder`` that is not as its manifest lists it; None if there is none."""
    written = read_manifest(folder / MANIFEST).files
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if is_folder or is_temporary(path) or name == MANIFEST:
            continue
        if not path.is_file() or name not in written or file_hashes(path) != written[name]:
            return name
    return None


def _add_teacher(student: SentenceTransformer, run: Path) -> SentenceTransformer:
    try:
        spec = teacher_spec(str(run / MODEL), prompts=student.prompts)
        model = with_teacher(student, spec) if len(spec.names) == 1 else None
    except InputError as error:
        raise InputError(f"the teacher, which --asymmetric also publishes, cannot be loaded: {error}") from error
    if model is None:
        raise InputError(f"teacher {spec.name} cannot be saved as one model: leave out --asymmetric")
    return model


def _fill(
    folder: Path, run: Path, card: str, scores: Mapping[str, MtebResult], model: SentenceTransformer, asymmetric: bool
) -> None:
    """Fill the new ``folder`` with the model folder of ``run``, or with the composed ``model``, and its description."""
    record = without_checksums(strip_record(read_record(run / MODEL)))  # the manifest has those of the published files
    if (own := run / MODEL / CARD).is_file():
        _logger.info("%s is published in place of a generated card", own)
    if asymmetric:
        save_portable(model, folder)
        if own.is_file():
            shutil.copyfile(own, folder / CARD)
    else:
        try:
            with unwritable_named(run):
                shutil.copytree(run / MODEL, folder, ignore=_excluded)
        except shutil.Error as error:  # a list of source, target and reason
            source, _, reason = error.args[0][0]
            raise InputError(f"{source} cannot be copied ({reason}): train the model again") from error
        add_requirement(model, folder)  # runs of earlier versions lack it
    if record:
        write_record(folder, record)
    if not (folder / CARD).is_file():
        (folder / CARD).write_text(card, encoding="utf-8")
    write_eval_results(folder, scores)
    write_manifest(folder)


def _excluded(folder: str, names: list[str]) -> set[str]:
    """Return what is not copied: hidden files and backups, and a record and results with local paths.

    Hidden files and backups, such as `.ipynb_checkpoints` and `README.md~`, hold drafts or secrets. Earlier versions
    wrote results into the model folder if a command was run there.
    """
    temporary = {name for name in names if is_temporary(Path(folder, name))}
    private = set(filter(_is_private, names))
    for name in sorted(private - temporary):
        _logger.info("%s is not published: hidden files and backups are left out", Path(folder, name))
    return temporary | private | set(filter(_is_left_out, names))


def _is_left_out(name: str) -> bool:
    """Return whether a file or folder of this name is not published."""
    return name in (RECIPE, RESULTS) or _is_private(name)


def _is_private(name: str) -> bool:
    return name.startswith(".") or name.endswith("~") or "conflicted copy" in name  # the last ones are Dropbox's
