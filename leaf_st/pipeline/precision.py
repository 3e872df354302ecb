"""The precision of a run: one for all of its vectors, in place of "auto", on machines of all kinds."""

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from accelerate.utils import gather_object

from leaf_st.recipe import Recipe
from leaf_st.run_folder import STORE
from leaf_st.teacher.open import kind_of
from leaf_st.teacher.protocol import Fingerprint
from leaf_st.teacher.store import read_header

_logger = logging.getLogger(__name__)


def with_precision(recipe: Recipe, precision: str) -> Recipe:
    """Return ``recipe`` with the ``precision`` of a fingerprint in place of "auto".

    Raises:
        ValueError: If it is the precision of another kind of teacher.
    """
    teacher = kind_of(recipe.teacher).with_precision(recipe.teacher, precision)
    return replace(recipe, teacher=teacher)


def with_precision_of_store(recipe: Recipe, folder: Path) -> Recipe:
    """Return ``recipe`` with the precision of the vectors in the store of the run ``folder``, if they exist.

    The record may state another precision: machines of several kinds that begin a run together write it one after the
    other.
    """
    with suppress(ValueError):  # no store, or one that is damaged or of another teacher, as its use will report
        fingerprint = Fingerprint.from_dict(read_header(folder / STORE)["fingerprint"])
        return with_precision(recipe, fingerprint.precision)
    return recipe


def precision_of_run(known: Recipe, own: str) -> str:
    """Return the precision of the run's vectors. In a new run, the first process decides.

    Args:
        known: The recipe with the values that the store or the record states now.
        own: The precision of the teacher that this process has loaded.
    """
    precision: str = gather_object([kind_of(known.teacher).precision(known.teacher) or own])[0]
    if precision != own:
        _logger.warning(
            "the teacher is loaded again in %s, the precision of this run: teacher.precision=auto means %s on this "
            "machine",
            *(precision, own),
        )
    return precision
