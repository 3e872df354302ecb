"""The types of recipe fields. `type_names` holds their names in messages, `values` how text becomes a value."""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from leaf_st.errors import InputError
from leaf_st.hub.dataset_url import is_dataset_url, parse_dataset_url

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # at least two letters: C:/ is a drive

_HUB_PAGE = re.compile(r"(?:https?://(?:huggingface\.co|hf\.co)|hf:/)/([\w.-]+/[\w.-]+)")


@dataclass(frozen=True)
class Named:
    """The name of an annotated type in messages and help.

    Attributes:
        name: The name in the singular.
    """

    name: str


def utf_8_problem(text: str, expected: str, remedy: str) -> str | None:
    """Return what was ``expected``, what was found, and the ``remedy``, if ``text`` is not UTF-8; None if it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        with suppress(UnicodeError):
            os.fsencode(text).decode()  # UTF-8 that Python has read in another encoding
            remedy = f"set PYTHONUTF8=1, because the locale has the encoding {sys.getfilesystemencoding()}"
        return f"expected {expected}, found {text!r}: {remedy}"
    return None


def path_problem(path: str | Path) -> str | None:
    """Return why ``path`` is not usable as a local path: a URL, or a name that is not UTF-8. None if it is usable."""
    text = str(path)
    # The record of a run is UTF-8, and Arrow opens no other path.
    if problem := utf_8_problem(text, "a path in UTF-8", "rename the file or folder"):
        return problem
    if not _URL.match(text):
        return None
    if "://" not in text:  # Path drops the second slash
        text = text.replace(":/", "://", 1)
    return (
        f"expected a local path, found {text!r}: URLs and object storage are not supported; "
        "copy the files to a local folder and use the path of that folder"
    )


def local_folder(path: str | Path) -> Path:
    """Return ``path``, a folder to write to, with the home folder in place of ``~``.

    Raises:
        InputError: If ``path`` is a URL, which would become a folder with the name of its scheme, or is not UTF-8.
    """
    if problem := path_problem(path):
        raise InputError(f"output folder: {problem}")
    return Path(os.path.expanduser(path))


def _to_text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _to_local_path(value: object) -> object:
    value = _to_text(value)
    if not isinstance(value, str):
        return value
    if problem := path_problem(value):
        raise ValueError(problem)
    return os.path.expanduser(value)  # unlike Path.expanduser, keeps ~NAME if no such user exists


def _to_model(value: object) -> object:
    """Return the name of a model; the address of a model on the hub gets the hub id as the remedy."""
    value = _to_text(value)
    if isinstance(value, str) and (page := _HUB_PAGE.match(value)):
        raise ValueError(f"expected a hub id or a local path, found the address {value!r}: write {page[1]}")
    return _to_local_path(value)


def _to_source(value: object) -> object:
    value = _to_text(value)
    if not isinstance(value, str) or not is_dataset_url(value):
        return _to_local_path(value)
    parse_dataset_url(value)
    return value


def _to_sequence(value: object) -> object:
    return (value,) if isinstance(value, str | Path | int) and not isinstance(value, bool) else value


def _to_numbers(value: object) -> object:
    """Return an array or range as a list, and other values as `_to_sequence` does."""
    if isinstance(value, range):
        return list(value)
    to_list = getattr(value, "tolist", None)  # numpy, whose import would slow the command line down, and torch
    return _to_sequence(value if to_list is None else to_list())


NonEmpty = Annotated[str, BeforeValidator(_to_text), Field(min_length=1)]
LocalPath = Annotated[str, BeforeValidator(_to_local_path), Field(min_length=1), Named("path")]
TextSource = Annotated[str, BeforeValidator(_to_source), Field(min_length=1), Named("path or hf://datasets/OWNER/NAME")]
ModelName = Annotated[str, BeforeValidator(_to_model), Field(min_length=1), Named("hub id or path")]
AtLeast0 = Annotated[int, Field(ge=0)]
AtLeast1 = Annotated[int, Field(ge=1)]
AtLeast2 = Annotated[int, Field(ge=2)]
Names = Annotated[Sequence[NonEmpty], BeforeValidator(_to_sequence), AfterValidator(tuple)]
SetName = Annotated[str, BeforeValidator(_to_local_path), Field(min_length=1), Named("path or task of mteb")]
SetNames = Annotated[Sequence[SetName], BeforeValidator(_to_sequence), AfterValidator(tuple)]
LocalPaths = Annotated[Sequence[LocalPath], BeforeValidator(_to_sequence), AfterValidator(tuple)]
Layers = Annotated[
    Sequence[AtLeast0],
    BeforeValidator(_to_numbers),
    AfterValidator(tuple),
    Field(min_length=1),
    Named("list of layer numbers such as 0,4,5"),
]
