"""The models that ``leaf-st measure latency`` times: students, their teachers, or random weights in their shapes."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from leaf_st.errors import FieldError, InputError
from leaf_st.evaluation.embedder import require_one_model
from leaf_st.evaluation.timing import Candidate
from leaf_st.export.forms import exported_files
from leaf_st.export.own import is_own
from leaf_st.models.find import find_model
from leaf_st.models.load import load_model
from leaf_st.models.random_weights import save_random_weights, shape_if_missing
from leaf_st.recipe import DOCSTRINGS, KINDS, Kind, TeacherSpec, TextsSpec
from leaf_st.student.build import build_student
from leaf_st.teacher.open import open_teacher_model, teacher_spec
from leaf_st.texts.check import log_left_out
from leaf_st.texts.read import read_texts
from leaf_st.zoo import ZOO, Architecture

_TEXTS = 1024  # per side; batches draw fewer than half of them

_logger = logging.getLogger(__name__)


def candidates(names: Sequence[str], teacher: str | None = None) -> list[Candidate]:
    """Return the students ``names`` and their teachers, each once, with a teacher before its students.

    ``candidates(["leaf-ir", "leaf-mt"])`` returns the models of the paper's Table 8, also without a network.

    Args:
        names: Folders, names of the zoo, or hub ids; a folder may contain only the config.json of a BERT.
        teacher: Folder or hub id of the teacher, for students whose teacher neither the zoo nor ``recipe.json`` names.

    Raises:
        InputError: If a model is not available and its shape is unknown, a student contains its teacher, or nothing
            names the teacher.
    """
    found: dict[str, Candidate] = {}
    for name in names:
        spec = teacher_spec(name, teacher)
        student = _student(name, spec)
        if spec.model not in found:
            found[spec.model] = _teacher(teacher_spec(name, teacher, student.encoder.prompts))
        found[name] = student
    return list(found.values())


def latency_texts(source: str | TextsSpec = DOCSTRINGS, name: str | None = None) -> dict[Kind, list[str]]:
    """Return the first 1,024 queries and the first 1,024 documents of ``source`` (see `TextsSpec`).

    Args:
        source: The texts.
        name: How the user names the source, for errors; None if a recipe names it.

    Raises:
        InputError: If the source cannot be read, or has no queries or no documents.
    """
    texts: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    spec = TextsSpec(source=source) if isinstance(source, str) else source
    skipped: Counter[str] = Counter()
    try:
        for row in read_texts(replace(spec, limit=dict.fromkeys(KINDS, _TEXTS)), skipped):
            texts[row.kind].append(row.text)
    except FieldError as error:
        raise InputError(error.named(name or f"texts.{error.field}")) from error
    log_left_out(_logger, spec.source, skipped)
    for kind, of_kind in texts.items():
        if not of_kind:
            raise InputError(
                f"{name or 'texts.source'} {spec.source}: expected queries and documents, found no {kind}: name a "
                "BEIR folder, or a table with a column `kind`"
            )
    return texts


def _student(name: str, teacher: TeacherSpec) -> Candidate:
    if shape := shape_if_missing(name, None):
        return _random_weights(name, teacher.name, *shape)
    student = load_model(name)
    require_one_model(student)
    return Candidate(name, student, teacher.name, _own_graphs(find_model(name)))


def _teacher(spec: TeacherSpec) -> Candidate:
    if spec.is_loaded and (shape := shape_if_missing(spec.model, spec.revision)):
        random = _random_weights(spec.model, spec.model, *shape)
        random.encoder.prompts.update(spec.prompts)
        return random
    if len(spec.names) > 1:
        raise InputError(
            f"teacher {spec.name}: expected one model to time, found several: name a model to compare with (--teacher)"
        )
    model = open_teacher_model(replace(spec, precision="float32"))
    return Candidate(spec.model, model, spec.model, _own_graphs(find_model(spec.model, spec.revision)))


def _own_graphs(folder: Path) -> dict[str, Path]:
    """Return the graphs in ``folder`` that an export wrote; graphs of other programs are logged."""
    own = {}
    for name, graph in exported_files(folder).items():
        if is_own(folder, graph):
            own[name] = graph
        else:
            _logger.warning(
                "%s is not timed: it has no mark of leaf-st export, so another program or an earlier version wrote it",
                graph,
            )
    return own


def _random_weights(name: str, teacher: str, reason: str, shape: Architecture) -> Candidate:
    _logger.info("%s is timed with random weights, which give the same times: %s", name, reason)
    with TemporaryDirectory(prefix="leaf-st-latency-") as temporary:
        folder = save_random_weights(Path(temporary) / "model", shape)
        known = next((model.teacher for key, model in ZOO.items() if name in (key, model.hub_id)), None)
        if known is None:
            model = load_model(str(folder))
        else:
            model = build_student(folder, dimension=known.dimension, normalized=True, prompts=known.prompts)
    return Candidate(name, model, teacher, random_weights=True)
