"""`leaf-st push`: the model of a run on the hub, in one call."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from leaf_st.errors import InputError, require_kind
from leaf_st.hub.client import Hub, Published
from leaf_st.hub.manifest import MANIFEST, read_manifest, write_manifest
from leaf_st.hub.target import MAIN, MOST_FILES, Target
from leaf_st.lock import only_process
from leaf_st.publishing.prepare import prepare
from leaf_st.publishing.site.manifest import check_site
from leaf_st.publishing.verify import format_checks
from leaf_st.run_folder import PUBLISH
from leaf_st.tables import aligned

_logger = logging.getLogger(__name__)


def push_to_hub(
    run: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    asymmetric: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    replace: bool = False,
    without_results: bool = False,
    token: str | None = None,
) -> Published | None:
    """Prepare the model of a run in ``RUN/publish``, check the folder, and upload it to the hub.

    The upload is one commit, tagged with the name of its content. The same call completes an upload that failed. After
    a pull request is merged, the same call without ``create_pr`` tags the commit.

    Args:
        run: A run folder with a trained model.
        repo_id: OWNER/NAME; the repository is created if it does not exist.
        private: Create the repository as private.
        create_pr: Open a pull request instead of committing to main.
        asymmetric: Publish student and teacher together: the student embeds queries, the teacher embeds documents. The
            folder then contains a Router, which requires sentence-transformers 5.0 or later.
        revision: A branch other than main; created from main if it does not exist.
        dry_run: Prepare and check the folder, and upload nothing.
        replace: Overwrite files in the repository that `push_to_hub` did not write.
        without_results: Allow a model card without results.
        token: The access token; by default HF_TOKEN, or the token that `hf auth login` stored.

    Returns:
        The publication; None for a dry run.

    Raises:
        InputError: If a part is missing or wrong, a check failed, the hub rejects the upload, or another process trains
            or publishes this run.
    """
    require_kind("run", run, str | Path, "a run folder: name the folder that leaf-st run or distill(output=) made")
    run = Path(run)
    target = Target(repo_id, MAIN if revision is None else revision, private, create_pr, replace)
    hub = None if dry_run else Hub(target, token)
    if hub:
        hub.check()
    with only_process(run):
        checks = prepare(run, repo_id, asymmetric=asymmetric, without_results=without_results)
        _logger.info("%s", format_checks(checks))
        return hub.publish(run / PUBLISH) if hub else None


def push_site(
    site: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    replace: bool = False,
    token: str | None = None,
) -> Published | None:
    """Upload a search page to the hub as a static Space; the arguments are those of `push_to_hub`.

    Args:
        site: A folder of `leaf-st site`.
        repo_id: OWNER/NAME of the Space; created if it does not exist.
        private: Create the Space as private.
        create_pr: Open a pull request instead of committing to main.
        revision: A branch other than main; created from main if it does not exist.
        dry_run: Check the folder, and upload nothing.
        replace: Overwrite files in the Space that `push_site` did not write.
        token: The access token; by default HF_TOKEN, or the token that `hf auth login` stored.

    Returns:
        The publication; None for a dry run.

    Raises:
        InputError: If the folder is not a search page, a file was changed, or a folder has more files than the hub
            allows, or the hub rejects the upload.
    """
    require_kind("site", site, str | Path, "a folder: name the folder that leaf-st site made")
    folder = Path(site)
    target = Target(repo_id, MAIN if revision is None else revision, private, create_pr, replace, repo_type="space")
    hub = None if dry_run else Hub(target, token)
    if hub:
        hub.check()
    check_site(folder)
    _require_few_files(folder, write_manifest(folder).files)
    return hub.publish(folder) if hub else None


def _require_few_files(folder: Path, names: Iterable[str]) -> None:
    """Check that the hub allows as many files in a folder as ``names`` has; it would refuse them after the upload."""
    for part, count in Counter(PurePosixPath(name).parent for name in names).items():
        if count > MOST_FILES:
            raise InputError(
                f"{folder / part}: expected at most {MOST_FILES:,} files, which the hub allows in a folder, found "
                f"{count:,}: serve the page from another host, or build a page of fewer documents"
            )


def describe(folder: Path, target: str) -> str:
    """Return a table of the files that a push of ``folder`` to ``target`` would send, for a dry run."""
    manifest = read_manifest(folder / MANIFEST)
    sizes = {name: (folder / name).stat().st_size for name in (*manifest.files, MANIFEST)}
    rows = [(name, f"{size:,}") for name, size in (*sizes.items(), ("total", sum(sizes.values())))]
    table = aligned([("file", "bytes"), *rows])
    return f"{table}\ndry run: {len(sizes)} files for {target} (tag {manifest.tag}); nothing was sent"
