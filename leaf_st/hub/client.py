"""From a prepared folder to the hub: one commit, or one pull request, then a tag.

What is there is asked for first, and only what differs is sent. Large files go up before the commit, which the hub
makes whole or not at all: no branch ever holds a part of a publication. A call that failed anywhere, or whose answer
was lost, is made good by the same call: it finds what arrived.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HTTPError,  # of whichever HTTP library the client is built on
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoFile

from leaf_st.errors import InputError
from leaf_st.hub.changes import changes, is_same, wanted_files
from leaf_st.hub.manifest import MANIFEST, Hashes, Manifest, read_manifest
from leaf_st.hub.retry import PASSING, answers, patiently
from leaf_st.publishing.hosted import check_repo_id

MAIN = "main"
_NO_BRANCH = re.compile(r"^$|^[-/.]|[\s~^:?*\[\\]|\.\.|//|/\.|@\{|[/.]$|\.lock$|^refs/")  # git check-ref-format
# What its client raises; PermissionError and ConnectionError are those of hf_xet, which sends large files.
_OF_THE_HUB = (
    HTTPError,
    ConnectionError,
    TimeoutError,
    PermissionError,
    LocalEntryNotFoundError,
    RuntimeError,
    ValueError,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """Where a publication goes.

    Attributes:
        repo_id: OWNER/NAME.
        revision: Branch.
        private: Whether only its owners may see the repository.
        pull_request: Whether it goes into a pull request on main.
        replace: Whether files that somebody else wrote may be written over.
    """

    repo_id: str
    revision: str = MAIN
    private: bool = False
    pull_request: bool = False
    replace: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        check_repo_id(self.repo_id)
        if _NO_BRANCH.search(self.revision):
            raise InputError(
                f"--revision {self.revision!r}: expected the name of a branch, as git takes it, such as next"
            )
        if self.pull_request and self.revision != MAIN:
            raise InputError(f"--revision {self.revision}: a pull request is made on {MAIN}: leave out one of the two")


@dataclass(frozen=True)
class Published:
    """What came of a publication.

    Attributes:
        url: Where it is.
        tag: Name of its content; None if it has none yet, since a pull request is tagged by a later call.
        sent: Number of files that were sent, in whichever attempt; 0 if all was there.
    """

    url: str
    tag: str | None
    sent: int


class Hub:
    """The hub, for one target.

    Args:
        target: Where to.
        token: As for `huggingface_hub`; the one that is stored, or HF_TOKEN, if None.

    Raises:
        InputError: If there is no token.
    """

    def __init__(self, target: Target, token: str | None = None) -> None:
        token = (token or get_token() or "").strip()  # a file of it ends with its line
        if not token:
            raise InputError("no token for the hub: log in with `hf auth login`, or set HF_TOKEN")
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise InputError("the token for the hub holds blanks or other signs that none has: copy it again")
        self._token = token
        self._target = target
        self._sent = 0
        self._api = HfApi(token=token, library_name="leaf_st", library_version=version("leaf-st"))

    def check(self) -> None:
        """Ask for the token and the repository, before other work is spent.

        Whether a fine-grained token may write there is known when it does.

        Raises:
            InputError: If the hub cannot be reached, does not take the token, or has the repository in another state.
        """
        self._said(self._require_write)
        self._said(self._repository)

    def publish(self, folder: Path) -> Published:
        """Make the repository hold what ``folder`` does.

        Args:
            folder: From `leaf_st.publishing.prepare`.

        Raises:
            InputError: If the hub does not let it, or not after a minute of attempts.
        """
        manifest = read_manifest(folder / MANIFEST)
        wanted = wanted_files(folder, manifest)
        self._sent = 0
        return self._said(lambda: self._publish(folder, manifest, wanted))

    def _require_write(self) -> None:
        known = self._api.whoami().get("auth", {}).get("accessToken", {})
        if known.get("role") == "read":
            raise InputError(
                f"the token may read and not write, to {self._target.repo_id} neither: take one with write permission"
            )

    def _repository(self) -> ModelInfo | None:
        target = self._target
        try:
            there = self._api.model_info(target.repo_id)
        except RepositoryNotFoundError as error:
            if target.pull_request:
                raise InputError(f"{target.repo_id}: no such repository to make a pull request to") from error
            return None
        if target.private and not there.private:
            raise InputError(
                f"{target.repo_id} is there and public: make it private in its settings, or leave out --private"
            )
        return there

    def _publish(self, folder: Path, manifest: Manifest, wanted: Mapping[str, Hashes]) -> Published:
        """Do what is still to be done; may be called again whenever it failed."""
        target, api = self._target, self._api
        if self._repository() is None:
            # None leaves the choice to the settings of the owner.
            api.create_repo(target.repo_id, private=target.private or None, exist_ok=True)
        title = f"leaf-st {manifest.tag}"
        if target.pull_request and (url := self._pull_request(title, wanted)):
            return Published(url, None, self._sent)
        head, tags, is_branch = self._refs()
        there = self._files(head)
        changed = changes(
            wanted, there, self._former(there, head), replace=target.replace, where=f"{target.repo_id} ({head[:8]})"
        )
        if not is_branch:  # not before it is known that it may be written to
            api.create_branch(target.repo_id, branch=target.revision, exist_ok=True)
        if changed:
            self._sent = len(changed.send)
            print(
                f"{len(changed.send)} files to send, {len(changed.delete)} to delete, {changed.kept} there", flush=True
            )
            made = api.create_commit(
                target.repo_id,
                changed.operations(folder),
                commit_message=title,
                revision=target.revision,
                create_pr=target.pull_request,
                parent_commit=head,  # whoever writes in between makes this one fail, and the next attempt look again
            )
            head = made.oid
            self._require_arrived(wanted, head)
            if made.pr_url:
                return Published(made.pr_url, None, self._sent)
        if manifest.tag not in tags:
            if target.pull_request:
                return Published(f"{api.endpoint}/{target.repo_id}", None, 0)
            api.create_tag(target.repo_id, tag=manifest.tag, revision=head, exist_ok=True)
        return Published(f"{api.endpoint}/{target.repo_id}", manifest.tag, self._sent)

    def _pull_request(self, title: str, wanted: Mapping[str, Hashes]) -> str | None:
        """Return the address of the open pull request that has this content already: others may call theirs so too."""
        found = self._api.get_repo_discussions(
            self._target.repo_id, discussion_type="pull_request", discussion_status="open"
        )
        same = (request for request in found if request.title == title)
        return next((each.url for each in same if not self._lacking(wanted, f"refs/pr/{each.num}")), None)

    def _refs(self) -> tuple[str, set[str], bool]:
        """Return the commit of the branch, or else of main, of which it will be made; the tags; whether it is there."""
        refs = self._api.list_repo_refs(self._target.repo_id)
        heads = {branch.name: branch.target_commit for branch in refs.branches}
        revision = self._target.revision
        return heads.get(revision, heads[MAIN]), {tag.name for tag in refs.tags}, revision in heads

    def _files(self, commit: str) -> dict[str, RepoFile]:
        tree = self._api.list_repo_tree(self._target.repo_id, recursive=True, revision=commit)
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

    def _former(self, there: Mapping[str, RepoFile], commit: str) -> Manifest:
        if MANIFEST not in there:
            return Manifest("", {})
        return read_manifest(Path(self._api.hf_hub_download(self._target.repo_id, MANIFEST, revision=commit)))

    def _lacking(self, wanted: Mapping[str, Hashes], revision: str) -> list[str]:
        """Return the files that a commit has not, or has otherwise."""
        there = self._files(revision)
        return [name for name, hashes in wanted.items() if name not in there or not is_same(there[name], hashes)]

    def _require_arrived(self, wanted: Mapping[str, Hashes], commit: str) -> None:
        """Refuse to go on where the repository ignores files (.gitignore) or holds others than were sent."""
        if lost := self._lacking(wanted, commit):
            raise InputError(
                f"{self._target.repo_id} has not got {', '.join(lost)} as it was sent: see whether a .gitignore there "
                "leaves it out, and run this again"
            )

    def _said(self, attempt: Callable[[], T]) -> T:
        """Return what ``attempt`` does, patiently; what cannot be helped is said in one line without the token."""
        try:
            return patiently(attempt)
        except InputError:
            raise
        except _OF_THE_HUB as error:
            if isinstance(error, PermissionError) and error.filename:
                raise  # a file of this machine
            raise InputError(_explained(error, self._target).replace(self._token, "***")) from error


def _explained(error: Exception, target: Target) -> str:
    said = getattr(error, "server_message", None) or " ".join(str(error).split())
    for cause, status in answers(error):
        if isinstance(cause, OfflineModeIsEnabled):
            return "the hub is switched off by HF_HUB_OFFLINE: unset it to publish"
        if status == 401:
            return "the hub does not know the token (401): log in with `hf auth login`, or set HF_TOKEN to another one"
        if status == 403 or isinstance(cause, PermissionError):
            return (
                f"the token may not write to {target.repo_id} (403: {said}): take one with write permission, or name a "
                "--repo-id of your own"
            )
        if status == 404:
            return f"{target.repo_id}: the hub has no such repository or branch, or does not show it to this token"
        if status is not None and status not in PASSING:
            return f"the hub does not take it ({status}: {said}): nothing is half done, mend that and run it again"
        if status is not None:
            return f"the hub does not take it ({status}: {said}): the same command goes on from here"
        if isinstance(cause, HTTPError | ConnectionError | TimeoutError):
            return f"the hub was not reached ({said}): the same command goes on from here when it is"
    return f"the upload failed ({said}): the same command goes on from here"
