"""The table of given vectors: its files, its revision, and the width and norm of its vectors."""

import hashlib
from collections import Counter
from typing import cast

import numpy as np

from leaf_st.errors import FieldError, file_named
from leaf_st.recipe import TeacherSpec, TextsSpec
from leaf_st.teacher.protocol import GIVEN
from leaf_st.teacher.vectors.cursor import Cursor
from leaf_st.teacher.vectors.files import VectorFiles, open_vectors
from leaf_st.teacher.vectors.flaws import UNIT, norms_of
from leaf_st.teacher.vectors.raw import FIELD, Raw
from leaf_st.texts.columnar import BATCH_ROWS
from leaf_st.texts.files import local_source
from leaf_st.texts.folder import table_files

_SAMPLES, _SAMPLE_BYTES = 1024, 4096  # of each file, for its hash; a file of up to 4 MiB is hashed completely
_SMALLEST_NORM = 1e-5  # of usual vectors; float16 numbers that are read as float32 give less, often 1e-12


def open_table(spec: TeacherSpec) -> tuple[TextsSpec, VectorFiles]:
    """Return the table of ``spec`` and its vectors.

    Raises:
        InputError: If the table is not set, missing or damaged.
    """
    if spec.vector_column is None or spec.table is None:
        raise FieldError(
            "teacher",
            "table",
            f"expected the table that contains the vectors {spec.vector_column!r}, found None: set the table, or use a "
            "recipe, whose texts are the table",
        )
    return spec.table, open_vectors(spec.table, spec.vector_column)


def given_revision(spec: TeacherSpec) -> str:
    """Return the revision in the fingerprint of the given vectors of ``spec``, without reading all of them.

    Raises:
        InputError: If the table is missing.
    """
    return revision_of(*open_table(spec))


def revision_of(table: TextsSpec, files: VectorFiles) -> str:
    """Return a hash of the size of each file and of 1,024 blocks of 4 KiB at even distances."""
    digest = hashlib.sha256()
    for path in dict.fromkeys([*table_files(local_source(table.source)), *files.paths]):
        size = path.stat().st_size
        digest.update(f"{size}\0".encode())
        places = np.linspace(0, max(0, size - _SAMPLE_BYTES), _SAMPLES).astype(int).tolist()
        with path.open("rb") as handle, file_named(path):
            for place in places if size > _SAMPLES * _SAMPLE_BYTES else range(0, size, _SAMPLE_BYTES):
                handle.seek(place)
                digest.update(handle.read(_SAMPLE_BYTES))
    return f"{GIVEN}{digest.hexdigest()[:16]}"


def measure(files: VectorFiles) -> tuple[int, bool]:
    """Return the width of the first 1,024 rows' vectors, and whether they have norm 1.

    Raises:
        InputError: If these rows have no vectors, or numbers of another type read as float32.
    """
    raw = next(files.read(0), None)
    widths = Counter(raw.widths[raw.widths > 0].tolist()) if raw is not None else Counter[int]()
    if not widths:
        raise FieldError(
            *FIELD,
            f"expected vectors in the first {BATCH_ROWS:,} rows of {files.paths[0]}, found none: name a column of "
            "lists of numbers, of float32 numbers in binary or base64, or of texts such as [0.1, 0.2]",
        )
    width = widths.most_common(1)[0][0]
    vectors, _ = Cursor(files, width).fetch(np.arange(len(cast(Raw, raw).widths)))
    norms = norms_of(vectors)
    norms = norms[np.isfinite(norms) & (norms > 0)]
    # The median, because some rows may be damaged.
    if norms.size and (median := np.median(norms)) < _SMALLEST_NORM:
        raise FieldError(
            *FIELD,
            f"expected vectors with a norm of {_SMALLEST_NORM} or more, found a median norm of {median:.0e} in "
            f"{files.paths[0]}, as float16 numbers that are read as float32 have: write binary and base64 vectors as "
            "little-endian float32, and multiply other vectors by a constant",
        )
    return width, bool(norms.size and np.median(np.abs(norms - 1)) <= UNIT)
