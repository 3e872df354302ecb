"""The destination of a publication on the hub."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from leaf_st.errors import InputError

MAIN = "main"
MOST_FILES = 10_000  # in a folder of a repository on the hub
_NO_BRANCH = re.compile(r"^$|^[-/.]|[\s~^:?*\[\\]|\.\.|//|/\.|@\{|[/.]$|\.lock$|^refs/")  # git check-ref-format
_PATH = re.compile(r"(?:datasets|spaces|models)/([\w.-]+/[\w.-]+)/?")  # of a repository in an address


@dataclass(frozen=True)
class Target:
    """The destination of a publication.

    Attributes:
        repo_id: OWNER/NAME.
        revision: The branch.
        private: Whether the repository is visible to its owners only.
        pull_request: Whether to open a pull request on main instead of committing.
        replace: Whether files from another source may be overwritten.
        repo_type: A model, a page (Space), or a data set.
    """

    repo_id: str
    revision: str = MAIN
    private: bool = False
    pull_request: bool = False
    replace: bool = False
    repo_type: Literal["model", "space", "dataset"] = "model"

    @property
    def path(self) -> str:
        """The path of the repository on the hub."""
        return self.repo_id if self.repo_type == "model" else f"{self.repo_type}s/{self.repo_id}"

    def __post_init__(self) -> None:
        """Check the values."""
        check_repo_id(self.repo_id)
        if _NO_BRANCH.search(self.revision):
            raise InputError(
                f"--revision {self.revision!r}: expected the name of a branch that git allows, such as next"
            )
        if self.pull_request and self.revision != MAIN:
            raise InputError(
                f"--revision {self.revision}: a pull request is always made on {MAIN}: leave out --revision or "
                "--create-pr"
            )


def check_repo_id(repo_id: str, argument: str = "--repo-id") -> None:
    """Check that ``repo_id`` is OWNER/NAME with characters that the hub allows.

    Args:
        repo_id: The value.
        argument: The argument that names the repository, for errors.

    Raises:
        InputError: If ``repo_id`` is anything else.
    """
    if path := _PATH.fullmatch(repo_id):
        raise InputError(f"{argument} {repo_id}: expected OWNER/NAME, found the path of a page: write {path[1]}")
    if repo_id.count("/") != 1:
        name = re.sub(r"[^\w.-]+", "-", Path(repo_id).name).strip("-.") or "leaf"
        raise InputError(f"{argument} {repo_id}: expected OWNER/NAME, such as me/{name}")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"{argument} {repo_id}: {str(error).partition(chr(10))[0]}") from error
