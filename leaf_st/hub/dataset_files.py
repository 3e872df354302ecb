"""Files of data sets on the hub: downloaded into the hub's cache, then read like local files."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    CachedRepoTreeNotFoundError,
    HFValidationError,
    HTTPError,  # of whichever HTTP library the client is built on
)

from leaf_st.errors import FieldError, InputError, cannot_write
from leaf_st.hub.answers import AnswerError, ask
from leaf_st.hub.dataset_url import DatasetUrl, parse_dataset_url
from leaf_st.hub.downloads import forget_listing, require_undamaged
from leaf_st.hub.explain import explain_download, first_line
from leaf_st.hub.retry import retry
from leaf_st.hub.settings import check_download

_LISTS = ("state.json", "dataset_dict.json", "_delta_log/*.json")  # see `leaf_st.texts.table_formats`
_SHOWN = 8  # files of a data set in an error

_logger = logging.getLogger(__name__)


@lru_cache(maxsize=16)
def dataset_files(
    url: str, of_file: tuple[str, ...], of_folder: tuple[str, ...], key: str = "texts", newest: bool = False
) -> Path:
    """Return the local copy of the folder or file ``url``.

    A part of a data set that is complete in the hub's cache needs no network, as `leaf_st.models.find` does for models.
    By default a branch is not followed, and the commit is logged instead.

    Args:
        url: An address that `parse_dataset_url` reads.
        of_file: Endings of a file; an address with another ending names a folder.
        of_folder: Endings of the files that are downloaded from a folder.
        key: Part of the recipe that names the data set, for errors.
        newest: Ask the hub for the newest commit of the branch, unless the hub cannot be reached.

    Raises:
        InputError: If the hub cannot be reached, has no such files, or does not allow such a name.
    """
    part = parse_dataset_url(url)
    below = f"{part.path}/" if part.path else ""
    patterns = [f"{below}*{ending}" for ending in of_folder]
    lists = [f"{below}*{name}" for name in _LISTS]
    if part.path.endswith(of_file):  # or a folder with such a name, as Spark and Dask write tables
        patterns.insert(0, part.path)
    try:
        known = _at_newest(part) if newest else part
        folder = _from_cache(known, [*patterns, *lists]) or _from_hub(part, [*patterns, *lists])
    except InputError:
        raise
    except HFValidationError as error:
        problem = f"expected a name that the hub allows ({first_line(error)}): correct the address"
        raise FieldError(key, "source", problem, url) from error
    except (OSError, HTTPError, AnswerError) as error:
        if cannot_write(error):
            raise
        problem = explain_download(error, "data set", "correct the address, or name a local file")
        raise FieldError(key, "source", problem, url) from error
    place = folder / part.path
    if not place.is_file() and not any(any(place.rglob(f"*{ending}")) for ending in of_folder):
        found = _content(part)
        forget_listing(folder)
        raise FieldError(
            key,
            "source",
            f"expected files of the form {', '.join(patterns)}, found {found}: name a folder or file of the "
            "data set, or the revision @refs/convert/parquet",
            url,
        )
    return place


def dataset_commit(url: str, place: Path) -> str:
    """Return the commit of ``place``, the local copy of ``url``."""
    depth = len(Path(parse_dataset_url(url).path).parts)
    return (place, *place.parents)[depth].name


def _at_newest(part: DatasetUrl) -> DatasetUrl:
    """Return ``part`` at the newest commit of its branch; unchanged if the hub cannot be asked."""
    if part.commit is None:
        with suppress(OSError, HTTPError, AnswerError, InputError):  # a download names the problem
            check_download()
            found = ask(HfApi().dataset_info, part.repo_id, revision=part.revision, timeout=10)
            return part._replace(revision=found.sha)
    return part


def _from_cache(part: DatasetUrl, patterns: Sequence[str]) -> Path | None:
    with suppress(OSError, CachedRepoTreeNotFoundError):
        get_cached_repo_tree(part.repo_id, repo_type="dataset", revision=part.revision)
        folder = _snapshot(part, patterns, local_files_only=True)
        if part.commit is None:
            _logger.info(
                "%s: commit %s is read from the hub's cache; the hub may have a newer one. Name a commit as "
                "hf://datasets/%s@COMMIT to read another",
                *(part.repo_id, folder.name, part.repo_id),
            )
        return folder
    return None


def _from_hub(part: DatasetUrl, patterns: Sequence[str]) -> Path:
    check_download()
    folder = retry(lambda: ask(_snapshot, part, patterns))
    require_undamaged(folder, part.repo_id)
    return folder


def _snapshot(part: DatasetUrl, patterns: Sequence[str], **options: Any) -> Path:  # noqa: ANN401
    folder: str = snapshot_download(
        part.repo_id, repo_type="dataset", revision=part.revision, allow_patterns=list(patterns), **options
    )
    return Path(folder)


def _content(part: DatasetUrl) -> str:
    with suppress(CachedRepoTreeNotFoundError):
        tree = get_cached_repo_tree(part.repo_id, repo_type="dataset", revision=part.revision)
        return ", ".join(sorted(file.path for file in tree)[:_SHOWN])
    return "none"
