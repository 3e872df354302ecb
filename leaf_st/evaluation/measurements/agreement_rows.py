"""Rows of the measurement ``agreement``: of the held-out texts of a run, and of the user's texts."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.agreement_groups import Distances, Measured, measure_collection
from leaf_st.evaluation.measurements.agreement_row import HELD_OUT, NAME, AgreementRow
from leaf_st.evaluation.measurements.collection import (
    Survey,
    embed_collection,
    held_out_collection,
    nearest_training_text,
    survey,
)
from leaf_st.evaluation.measurements.lost_queries import LOST_QUERIES
from leaf_st.evaluation.measurements.over_sets import load_pair
from leaf_st.evaluation.rows import part_file, read_or_make, write_rows
from leaf_st.evaluation.sizes import Models, require_same_sizes, write_sizes
from leaf_st.models.identity import hash_files, identify, with_owner
from leaf_st.models.load import load_model
from leaf_st.recipe import Recipe
from leaf_st.run_folder import MODEL, RESULTS, STORE, read_run, require_trained, run_of
from leaf_st.teacher.protocol import NoVectorError, Teacher
from leaf_st.teacher.store import FINGERPRINT, STORE_MANIFEST, EmbeddingStore, intact_store


def measure_held_out(model: str | Path, results: Path | None = None) -> list[AgreementRow]:
    """Measure the agreement on the held-out texts of a run (see `held_out_collection`) and write the rows.

    The student reads as many tokens as in training, because the teacher's vectors in the store are of such texts.

    Args:
        model: Folder of a run with a trained student, or its model folder.
        results: Results folder; by default ``results/`` of the run.

    Raises:
        InputError: If ``model`` is no run, or its store or student cannot be used.
    """
    run = run_of(Path(model))
    if run is None:
        require_trained(Path(model))
        raise InputError(
            f"{model}: expected a run folder, whose held-out texts are measured: name one, or give --texts"
        )
    recipe = Recipe.from_dict(read_run(run)["resolved"])
    store, student = intact_store(run / STORE), load_model(str(run / MODEL))
    identity = identify(student)
    if recipe.training.max_length is not None:  # a static student has no length to set
        student.max_seq_length = recipe.training.max_length

    def make() -> list[Measured]:
        collection = held_out_collection(HELD_OUT, store, recipe.training)
        names = identity.name, with_owner(store.fingerprint.teacher)
        return [measure_collection(collection, student, names, _distances_in(run))]

    texts = hash_files([store.folder / FINGERPRINT, store.folder / STORE_MANIFEST])
    results = results or run / RESULTS
    require_same_sizes(results, {"student": (identity, student)})
    settings = f"{recipe.training.held_out_rows} {student.max_seq_length}"
    part = part_file(results, "agreement", "held-out", str(identity), texts, settings)
    return _write(results, read_or_make(part, Measured, make))


def measure_texts(model: str, teacher: str | None, sources: Sequence[Path], results: Path) -> list[AgreementRow]:
    """Measure the agreement on each of the user's texts and write the rows.

    A stopped call resumes after the last block of texts that the teacher embedded.

    Args:
        model: The student.
        teacher: Folder or hub id of the teacher; by default the teacher that the student learned from.
        sources: Files or folders of queries and documents (see `survey`).
        results: Results folder.

    Raises:
        InputError: If a source or a model cannot be used, or the results folder belongs to other models.
    """
    surveys = [survey(source) for source in sources]  # reports an unusable source before any text is embedded
    names = [found.source.resolve().name for found in surveys]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--texts: two sources have the same name {twice[0]}: measure them one by one")
    opened, student = load_pair(model, teacher)
    known: Models = {"teacher": (opened.identity, opened), "student": (identify(student), student)}
    require_same_sizes(results, known)
    measured: list[Measured] = []
    for found, name in zip(surveys, names, strict=True):
        made_of = [*(str(identity) for identity, _ in known.values()), found.revision]
        part = part_file(results, "agreement", name, *made_of)
        store = part.with_suffix("")
        try:
            measured += read_or_make(part, Measured, partial(_measure_survey, found, store, opened, student, model))
        except NoVectorError as error:
            raise InputError(
                f"--texts {found.source}: expected queries and documents with given vectors, but {error.problem}: name "
                "texts of the table, leave out --texts to measure the held-out texts of the run, or name a teacher "
                "that can be loaded (--teacher)"
            ) from error
        shutil.rmtree(store, ignore_errors=True)
        write_sizes(results, known)
    return _write(results, measured)


def _write(results: Path, measured: Sequence[Measured]) -> list[AgreementRow]:
    """Write the rows of all sets to ``agreement.json`` and ``lost_queries.json`` in the results folder ``results``."""
    write_rows(results / LOST_QUERIES.file, [row for of_set in measured for row in of_set.lost])
    rows = [row for of_set in measured for row in of_set.agreement]
    write_rows(results / f"{NAME}.json", rows)
    return rows


def _measure_survey(
    found: Survey, folder: Path, teacher: Teacher, student: SentenceTransformer, model: str
) -> list[Measured]:
    collection = embed_collection(found, teacher, folder)
    run = run_of(Path(model))
    distances = None if run is None else _distances_in(run, collection.store)
    return [measure_collection(collection, student, (identify(student).name, teacher.identity.name), distances)]


def _distances_in(run: Path, other: EmbeddingStore | None = None) -> Distances | None:
    """Return a function of the teacher's vectors; None if the run has no store, or a store of another teacher."""
    if not (run / STORE / STORE_MANIFEST).is_file():
        return None
    store, recipe = intact_store(run / STORE), Recipe.from_dict(read_run(run)["resolved"])
    if other is not None and not store.fingerprint.has_files_of(other.fingerprint):
        return None
    return lambda vectors: nearest_training_text(vectors, store, recipe.training)
