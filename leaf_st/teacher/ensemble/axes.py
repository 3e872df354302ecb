"""Principal axes of an ensemble's vectors, which project the vectors to fewer dimensions.

The axes are the eigenvectors of the uncentred second moments with the largest eigenvalues. A centred projection would
change the cosines of the vectors.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from leaf_st.atomic import write_whole
from leaf_st.errors import InputError
from leaf_st.models.identity import hash_files

ROWS = 16_384  # texts to which the axes are fitted
_AXES = "axes"

_logger = logging.getLogger(__name__)


def fit_axes(blocks: Iterable[NDArray[np.float32]], dimensions: int, path: Path) -> None:
    """Write the ``dimensions`` principal axes of vectors to ``path``.

    Args:
        blocks: The vectors in blocks of shape (n, d).
        dimensions: Number of axes, at most d.
        path: The new file; its folder is created.

    Raises:
        InputError: If there are fewer vectors than axes.
    """
    rows, moments = 0, np.zeros((1, 1))
    for block in blocks:
        rows, moments = rows + len(block), moments + block.T.astype(np.float64) @ block
    if rows < dimensions:
        raise InputError(
            f"teacher.dimensions: expected at least {dimensions:,} texts to fit as many axes, found {rows:,}: add "
            "texts, or set fewer dimensions"
        )
    values, vectors = np.linalg.eigh(moments)  # in ascending order
    kept = values[::-1][:dimensions].sum() / values.sum()
    axes = vectors[:, ::-1][:, :dimensions]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dimensions)])  # eigenvectors have no sign of their own
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: save_file({_AXES: (axes * signs).astype(np.float32)}, temporary))
    _logger.info(
        "%s of %s dimensions hold %.1f %% of the squared norms of %s texts",
        *(f"{dimensions:,}", f"{len(moments):,}", 100 * kept, f"{rows:,}"),
    )


def read_axes(path: Path, width: int, dimensions: int) -> NDArray[np.float32]:
    """Return the axes in ``path``, shape (width, dimensions).

    Raises:
        InputError: If the file is missing or damaged, or the axes have another shape.
    """
    try:
        axes: NDArray[np.float32] = load_file(path)[_AXES]
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"teacher.axes: expected a file of principal axes, found {path} ({error})") from error
    if axes.shape != (width, dimensions):
        raise InputError(
            f"teacher.axes {path}: expected {dimensions:,} axes of {width:,} numbers, found {axes.shape[1]:,} of "
            f"{axes.shape[0]:,}: name the axes of these members and of this number of dimensions"
        )
    return axes


def axes_revision(path: Path) -> str:
    """Return a hash of the axes in ``path``.

    Raises:
        InputError: If the file is missing.
    """
    if not path.is_file():
        raise InputError(f"teacher.axes: expected a file of principal axes, found no {path}: name the run's file")
    return hash_files([path])
