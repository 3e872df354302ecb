"""Upload of a prepared folder to the hub: one commit or one pull request, and then a tag.

The client first lists the files of the repository and sends only the files that differ. Large files are uploaded before
the commit, and the hub applies a commit completely or not at all, so no branch ever contains a partial publication. If
a call fails, or its response is lost, the same call completes the publication and sends only what has not arrived.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ParamSpec, TypeVar

from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HfHubHTTPError,
    HTTPError,  # the error type of its HTTP library
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import DatasetInfo, GitRefs, ModelInfo, RepoFile, SpaceInfo

from leaf_st.errors import InputError, cannot_write
from leaf_st.hub.answers import AnswerError, ask
from leaf_st.hub.changes import Changes, compare_files, differing_files, has_content, local_files
from leaf_st.hub.explain import explain
from leaf_st.hub.manifest import MANIFEST, Hashes, Manifest, file_hashes, read_manifest
from leaf_st.hub.retry import TemporaryError, retry
from leaf_st.hub.settings import check_address, find_token
from leaf_st.hub.target import MAIN, Target

P = ParamSpec("P")
T = TypeVar("T")

# The hub fills a new static Space with an example page, in a commit of this title. The commit is made before the first
# upload, so an upload that failed after it can be repeated.
_EXAMPLE = {".gitattributes", "README.md", "index.html", "style.css"}
_FIRST_COMMIT = "initial commit"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """The result of a publication.

    Attributes:
        url: The address of the repository or pull request.
        tag: The tag of the content; None for a pull request, which is tagged by a later call.
        sent: The number of files that were sent, over all attempts; 0 if the repository had them all.
    """

    url: str
    tag: str | None
    sent: int


class Hub:
    """A client of the hub for one target.

    Args:
        target: The destination.
        token: The access token; by default HF_TOKEN, or the token that `hf auth login` stored.

    Raises:
        InputError: If there is no token, or the token, the address of the hub or a proxy cannot be used.
    """

    def __init__(self, target: Target, token: str | None = None) -> None:
        check_address()
        self._token = find_token(token)
        if not self._token:
            raise InputError("no token for the hub: log in with `hf auth login`, or set HF_TOKEN")
        self._target = target
        self._sent = 0
        self._warned: set[str] = set()
        self._api = HfApi(token=self._token, library_name="leaf_st", library_version=version("leaf-st"))

    def check(self) -> None:
        """Check the token and the repository, before any other work is done.

        Only the upload itself shows whether a fine-grained token may write to the repository.

        Raises:
            InputError: If the hub cannot be reached or rejects the token, or the repository does not fit the target.
        """
        self._call(self._require_write_token)
        self._call(self._find_repository)

    def publish(self, folder: Path) -> Published:
        """Make the repository equal to ``folder``.

        Args:
            folder: A folder from `leaf_st.publishing.prepare`.

        Raises:
            InputError: If the hub rejects the upload, or about a minute of attempts fails.
        """
        manifest = read_manifest(folder / MANIFEST)
        local = local_files(folder, manifest)
        self._sent = 0
        return self._call(lambda: self._publish(folder, manifest, local))

    def _require_write_token(self) -> None:
        # OAuth tokens have no role.
        role = ask(lambda: self._api.whoami().get("auth", {}).get("accessToken", {}).get("role"))
        if role == "read":
            raise InputError(
                f"the token has read permission only, expected write permission for {self._target.repo_id}: use a "
                "token with write permission"
            )

    def _find_repository(self) -> ModelInfo | SpaceInfo | DatasetInfo | None:
        target = self._target
        try:
            repository = self._ask_for_repository()
        except RepositoryNotFoundError as error:
            if target.pull_request:
                raise InputError(
                    f"{target.repo_id}: a pull request needs a repository, found none: leave out --create-pr to "
                    "create it"
                ) from error
            return None
        if repository.id != target.repo_id:
            self._warn_once(
                f"{target.repo_id} is now {repository.id} on the hub: push to --repo-id {repository.id} next time, so "
                "that the model card names it"
            )
        if target.private and not repository.private:
            raise InputError(
                f"{target.repo_id} exists and is public: make it private in its settings, or leave out --private"
            )
        return repository

    def _ask_for_repository(self) -> ModelInfo | SpaceInfo | DatasetInfo:
        if self._target.repo_type == "space":
            return ask(self._api.space_info, self._target.repo_id)
        if self._target.repo_type == "dataset":
            return ask(self._api.dataset_info, self._target.repo_id)
        return ask(self._api.model_info, self._target.repo_id)

    def _publish(self, folder: Path, manifest: Manifest, local: Mapping[str, Hashes]) -> Published:
        """Do the steps that are still missing; can be repeated after every failure."""
        target, api, kind = self._target, self._api, self._target.repo_type
        if self._find_repository() is None:
            # None leaves the choice to the settings of the owner.
            private, sdk = target.private or None, "static" if kind == "space" else None
            ask(api.create_repo, target.repo_id, private=private, repo_type=kind, space_sdk=sdk, exist_ok=True)
        title = f"leaf-st {manifest.tag}"
        if target.pull_request and (url := self._open_pull_request(title, local)):
            return Published(url, None, self._sent)
        head, tags, is_branch = self._refs()
        changes = self._compare(local, head)
        if not is_branch:  # only after the comparison has allowed the upload
            ask(api.create_branch, target.repo_id, branch=target.revision, repo_type=kind, exist_ok=True)
        if changes:
            commit = self._commit(changes, folder, title, head)
            head = commit.oid
            self._require_complete(local, head)
            if commit.pr_url:
                return Published(commit.pr_url, None, self._sent)
        if manifest.tag not in tags:
            if target.pull_request:
                return Published(f"{api.endpoint}/{target.path}", None, 0)
            tag = partial(api.create_tag, tag=manifest.tag, revision=head, repo_type=kind, exist_ok=True)
            self._ask_about(head, tag, target.repo_id)
        return Published(f"{api.endpoint}/{target.path}", manifest.tag, self._sent)

    def _compare(self, local: Mapping[str, Hashes], head: str) -> Changes:
        remote = self._remote_files(head)
        previous = Manifest("", {})
        if MANIFEST in remote:
            previous = self._previous(head, remote[MANIFEST])
        where = f"{self._target.repo_id} ({head[:8]})"
        replace = self._target.replace or self._is_example(remote, head)
        return compare_files(local, remote, previous, replace=replace, where=where)

    def _is_example(self, remote: Mapping[str, RepoFile], head: str) -> bool:
        """Return whether a commit of a Space is the hub's own first commit, and nobody has committed since."""
        if self._target.repo_type != "space" or not remote.keys() <= _EXAMPLE:
            return False
        name, kind = self._target.repo_id, self._target.repo_type
        commits = self._ask_about(head, self._api.list_repo_commits, name, repo_type=kind, revision=head)
        return [commit.title for commit in commits] == [_FIRST_COMMIT]

    def _previous(self, head: str, listed: RepoFile) -> Manifest:
        """Return the manifest in the repository, without the hub's cache: a wrong file would stay there."""
        with TemporaryDirectory() as folder:
            download = self._api.hf_hub_download
            name, kind = self._target.repo_id, self._target.repo_type
            path = self._ask_about(head, download, name, MANIFEST, repo_type=kind, revision=head, local_dir=folder)
            if not has_content(listed, file_hashes(Path(path))):
                raise TemporaryError(f"the hub sends {MANIFEST} with other content than its list of files names")
            return read_manifest(Path(path))

    def _commit(self, changes: Changes, folder: Path, title: str, head: str) -> CommitInfo:
        self._sent = len(changes.upload)
        counts = len(changes.upload), len(changes.delete), changes.unchanged
        _logger.info("%d files to send, %d to delete, %d unchanged", *counts)
        return ask(
            self._api.create_commit,
            self._target.repo_id,
            changes.operations(folder),
            commit_message=title,
            revision=self._target.revision,
            repo_type=self._target.repo_type,
            create_pr=self._target.pull_request,
            parent_commit=head,  # fails after a commit by another client; the next attempt compares the files again
        )

    def _open_pull_request(self, title: str, local: Mapping[str, Hashes]) -> str | None:
        """Return the address of the open pull request with this title and content; None if no such request exists."""
        asked = self._api.get_repo_discussions(
            self._target.repo_id,
            discussion_type="pull_request",
            discussion_status="open",
            repo_type=self._target.repo_type,
        )
        found = ask(list, asked)
        candidates = (request for request in found if request.title == title)
        return next((each.url for each in candidates if not self._missing(local, f"refs/pr/{each.num}")), None)

    def _refs(self) -> tuple[str, set[str], bool]:
        """Return the head of the branch, or of main if the branch is new; the tags; and whether the branch exists."""
        refs: GitRefs = ask(self._api.list_repo_refs, self._target.repo_id, repo_type=self._target.repo_type)
        heads = {branch.name: branch.target_commit for branch in refs.branches}
        revision = self._target.revision
        head = heads.get(revision, heads.get(MAIN))
        if not isinstance(head, str):
            raise TemporaryError(f"the hub names no commit of the branch {MAIN} of {self._target.repo_id}")
        return head, {tag.name for tag in refs.tags}, revision in heads

    def _remote_files(self, commit: str) -> dict[str, RepoFile]:
        target = self._target
        listing = self._api.list_repo_tree(target.repo_id, recursive=True, revision=commit, repo_type=target.repo_type)
        tree = self._ask_about(commit, list, listing)
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

    def _ask_about(self, commit: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of ``call`` about a commit that the hub has named, and which exists for this reason.

        Raises:
            TemporaryError: If the hub does not find the commit: its servers do not learn of a commit all at once.
        """
        try:
            return ask(call, *args, **kwargs)
        except RepositoryNotFoundError:
            raise
        except HfHubHTTPError as error:
            if error.response.status_code != 404:
                raise
            raise TemporaryError(
                f"the hub does not yet find its commit {commit[:8]} of {self._target.repo_id}"
            ) from error

    def _missing(self, local: Mapping[str, Hashes], revision: str) -> list[str]:
        """Return the local files that a revision lacks, or contains with other content."""
        return differing_files(local, self._remote_files(revision))

    def _require_complete(self, local: Mapping[str, Hashes], commit: str) -> None:
        """Fail if the repository ignores files (.gitignore), or its content differs from the sent files."""
        if missing := self._missing(local, commit):
            raise InputError(
                f"{self._target.repo_id} does not contain {', '.join(missing)} as sent: check whether a .gitignore in "
                "the repository excludes it, then run the same command again"
            )

    def _call(self, call: Callable[[], T]) -> T:
        """Return the result of ``call`` with retries; turn an error into one line without the token."""
        try:
            return retry(call)
        except (HTTPError, OSError, AnswerError) as error:  # also errors of hf_xet, which uploads large files
            if cannot_write(error) or getattr(error, "filename", None) is not None:
                raise  # a local file
            raise InputError(explain(error, self._target).replace(self._token, "***")) from error

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            _logger.warning("%s", message)
