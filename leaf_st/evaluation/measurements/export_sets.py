"""The sets on which ``leaf-st export`` measures how much nDCG@10 a quantized form keeps.

The first of these that exists is searched: the folders of ``--data``; a sample of the recipe's sets; the search set of
the demo; the held-out texts of the run, for which the teacher is the judge. A model folder without a run and without
``--data`` has none of them.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leaf_st.evaluation.measurements.over_sets import find_sets

if TYPE_CHECKING:
    from leaf_st.evaluation.beir import BeirSet

SAMPLED = 1000  # documents of all sets together: one core encodes them in less than a minute
_SAMPLE_ERROR = 2.0  # percent points; a sample of four sets was 1.1 and 1.4 above the complete sets
_NOT_MEASURED = (
    "nDCG@10 is not measured: expected BEIR folders or a run with a store, found none: name folders with --data. The "
    "quantized forms are compared by their cosine to torch only"
)

_logger = logging.getLogger(__name__)


def sample_error(sampled: bool) -> float:
    """Return how far nDCG@10 kept may be wrong, in percent points."""
    return _SAMPLE_ERROR if sampled else 0.0


def sets_to_search(model: str, named: Sequence[Path]) -> "list[BeirSet]":
    """Return the sets for ``model``, and log which sets are searched.

    Args:
        model: The model on the command line.
        named: The folders of ``--data``.

    Raises:
        InputError: If a folder is not a retrieval set, or the store of the run is damaged.
    """
    from leaf_st.evaluation.beir import load_beir
    from leaf_st.evaluation.beir_sample import sampled
    from leaf_st.evaluation.measurements.judged_by_teacher import judged_by_teacher
    from leaf_st.models.find import find_model
    from leaf_st.run_folder import HELD_OUT, STORE, run_of
    from leaf_st.teacher.store import STORE_MANIFEST

    folders, run = find_sets(model, named), run_of(find_model(model))
    if not folders and run is not None and (run / HELD_OUT).is_dir():
        folders = [run / HELD_OUT]
    sets = [load_beir(folder) for folder in folders]
    names = ", ".join(beir.name for beir in sets)
    if named:
        _logger.info("searched: %s", names)
    elif sets:
        sets = [sampled(beir, SAMPLED // len(sets)) for beir in sets]
        count = sum(len(beir.corpus) for beir in sets)
        _logger.info("searched: a sample of %s documents of %s; --data searches complete sets", f"{count:,}", names)
    elif run is not None and (run / STORE / STORE_MANIFEST).is_file():
        sets = [judged_by_teacher(run, SAMPLED)]
        _logger.info(
            "searched: %d held-out queries, %d documents of the store; the teacher's nearest documents are relevant; "
            "--data searches judged sets",
            len(sets[0].queries),
            len(sets[0].corpus),
        )
    else:
        _logger.warning(_NOT_MEASURED)
    return sets
