"""Addresses of data sets on the hub, in the form that pandas, `datasets` and DuckDB read.

``hf://datasets/OWNER/NAME``, optionally with ``@REVISION`` and the path of a folder or file:
``hf://datasets/Cohere/wikipedia-2023-11-embed-multilingual-v3/en``.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

_PREFIX = "hf://datasets/"
_FORM = re.compile(
    re.escape(_PREFIX)
    + r"(?P<repo_id>[\w.-]+/[\w.-]+)"
    + r"(?:@(?P<revision>refs/(?:convert|pr)/[^/@]+|[^/@]+))?"
    + r"(?:/(?P<path>[^*?\[\]]*?))?/?"
)
_COMMIT = re.compile("[0-9a-f]{40}")


class DatasetUrl(NamedTuple):
    """A part of a data set on the hub.

    Attributes:
        repo_id: OWNER/NAME.
        revision: Commit, branch or tag; None for the main branch.
        path: A folder or file of the data set; empty for all of its files.
    """

    repo_id: str
    revision: str | None
    path: str

    def at(self, commit: str) -> str:
        """Return the address of this part at ``commit``."""
        return f"{_PREFIX}{self.repo_id}@{commit}{f'/{self.path}' if self.path else ''}"

    @property
    def commit(self) -> str | None:
        """The commit, if the address names one; None for the main branch, a branch or a tag, which move."""
        return self.revision if _COMMIT.fullmatch(self.revision or "") else None


def is_dataset_url(source: str) -> bool:
    """Return whether ``source`` begins like the address of a data set on the hub."""
    return source.startswith(_PREFIX)


def parse_dataset_url(url: str) -> DatasetUrl:
    """Return the parts of ``url``.

    Raises:
        ValueError: If ``url`` has another form.
    """
    parts = _FORM.fullmatch(url)
    if parts is None:
        raise ValueError(
            f"expected {_PREFIX}OWNER/NAME, optionally with @REVISION and /FOLDER or /FILE, found {url!r}: correct the "
            "address"
        )
    revision = parts["revision"]
    return DatasetUrl(parts["repo_id"], None if revision is None else unquote(revision), parts["path"] or "")
