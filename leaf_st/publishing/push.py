"""`leaf-st push`: from a run to the hub, in one call."""

from pathlib import Path

from leaf_st.hub.client import MAIN, Hub, Published, Target
from leaf_st.hub.manifest import MANIFEST, read_manifest
from leaf_st.publishing.prepare import prepare
from leaf_st.publishing.verify import PUBLISH


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
    """Prepare the model of a run in ``RUN/publish``, check it there, and put it on the hub.

    The same call finishes what another one began. It is one commit, tagged with the name of its content; a pull request
    is tagged by the same call without ``create_pr`` after it was merged.

    Args:
        run: Folder of a run with a trained model.
        repo_id: OWNER/NAME; made if it is not there.
        private: Make it for its owners alone.
        create_pr: Make a pull request.
        asymmetric: Publish the teacher along, for documents: a Router, which sentence-transformers reads since 5.0.
        revision: Branch in place of main; made from it if it is not there.
        dry_run: Prepare and check, and send nothing.
        replace: Write over files that somebody else wrote.
        without_results: Let the card have no results.
        token: As for ``huggingface_hub``.

    Returns:
        What came of it; None for a dry run.

    Raises:
        InputError: If something is missing or wrong, a check failed, or the hub does not let it.
    """
    run = Path(run)
    target = Target(repo_id, MAIN if revision is None else revision, private, create_pr, replace)
    hub = None if dry_run else Hub(target, token)
    if hub:
        hub.check()
    for check in prepare(run, repo_id, asymmetric=asymmetric, without_results=without_results):
        print(check, flush=True)
    return hub.publish(run / PUBLISH) if hub else None


def describe(run: Path, target: str) -> str:
    """Return a table of the files that are ready for ``target``, which a dry run shows."""
    folder = run / PUBLISH
    manifest = read_manifest(folder / MANIFEST)
    sizes = {name: (folder / name).stat().st_size for name in (*manifest.files, MANIFEST)}
    lines = [f"{size:>13,}  {name}" for name, size in sizes.items()]
    total = (
        f"{sum(sizes.values()):>13,}  bytes in {len(sizes)} files, as {manifest.tag}, for {target}: nothing was sent"
    )
    return "\n".join([*lines, total])
