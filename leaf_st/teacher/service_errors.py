"""Errors of a service whose vectors are all in a store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leaf_st.errors import InputError
from leaf_st.teacher.store import STORE_MANIFEST


@contextmanager
def or_train(folder: Path) -> Iterator[None]:
    """Add to an error of a service that training does not need the service, if the store at ``folder`` is complete.

    Raises:
        InputError: The error.
    """
    try:
        yield
    except InputError as error:
        if not (folder / STORE_MANIFEST).is_file():
            raise
        remedy = f"all vectors are in {folder}, and `leaf-st train` trains on them without the API"
        raise InputError(f"{error}; {remedy}") from error
