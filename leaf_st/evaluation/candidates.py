"""What is timed: students and their teachers, or, where these cannot be had, random weights in their shape."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.latency import Candidate
from leaf_st.export.encoder import GRAPHS, GraphKind
from leaf_st.models.find import resolve_model
from leaf_st.models.random_weights import missing, save_unlearned
from leaf_st.recipe import DOCSTRINGS, KINDS, Kind, TeacherSpec, TextsSpec
from leaf_st.student.build import build_student
from leaf_st.student.load import load_student, load_teacher, teacher_of
from leaf_st.texts.read import read_texts
from leaf_st.zoo import ZOO, Architecture

_TEXTS = 1024  # of each side, of which less than half are drawn


def candidates(names: Sequence[str], teacher: str | None = None) -> list[Candidate]:
    """Return the students ``names`` and their teachers, each once and a teacher before its students.

    ``candidates(["leaf-ir", "leaf-mt"])`` are the models of the paper's Table 8, without a network too.

    Args:
        names: Folders, names of the zoo, or hub ids; a folder may hold the config.json of a BERT alone.
        teacher: Folder or hub id of their teacher, where neither the zoo nor a student's ``recipe.json`` names it.

    Raises:
        InputError: If a model cannot be had and its shape is not known, or nothing names the teacher.
    """
    found: dict[str, Candidate] = {}
    for name in names:
        spec = TeacherSpec(model=teacher) if teacher else teacher_of(name)
        student = _student(name, spec)
        if spec.model not in found:
            found[spec.model] = _teacher(spec, student.model)
        found[name] = student
    return list(found.values())


def latency_texts(source: str | TextsSpec = DOCSTRINGS) -> dict[Kind, list[str]]:
    """Return queries and documents of ``source``, which is as in `TextsSpec`: the first thousand of each.

    Raises:
        InputError: If the source cannot be read or lacks one of them.
    """
    texts: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    spec = TextsSpec(source=source) if isinstance(source, str) else source
    for row in read_texts(replace(spec, limit=dict.fromkeys(KINDS, _TEXTS)), Counter()):
        texts[row.kind].append(row.text)
    for kind, of_kind in texts.items():
        if not of_kind:
            raise InputError(
                f"texts.source {spec.source}: expected queries and documents, found no {kind}: name a BEIR folder, or "
                "a table with a column `kind`"
            )
    return texts


def _student(name: str, teacher: TeacherSpec) -> Candidate:
    if gone := missing(name, None):
        return _unlearned(name, teacher.model, *gone)
    return Candidate(name, load_student(name), teacher.model, _graphs(name))


def _teacher(spec: TeacherSpec, student: SentenceTransformer) -> Candidate:
    if gone := missing(spec.model, spec.revision):
        unlearned = _unlearned(spec.model, spec.model, *gone)
        unlearned.model.prompts = dict(student.prompts)
        return unlearned
    return Candidate(spec.model, load_teacher(spec, student), spec.model, _graphs(spec.model))


def _graphs(name: str) -> dict[GraphKind, Path]:
    folder = resolve_model(name)
    return {kind: folder / path for kind, path in GRAPHS.items() if (folder / path).is_file()}


def _unlearned(name: str, teacher: str, reason: str, shape: Architecture) -> Candidate:
    print(f"{name} has random weights, which are as fast: {reason}", flush=True)
    with TemporaryDirectory(prefix="leaf-st-latency-") as temporary:
        folder = save_unlearned(Path(temporary) / "model", shape)
        known = next((model.teacher for key, model in ZOO.items() if name in (key, model.hub_id)), None)
        if known is None:
            model = load_student(str(folder))
        else:
            model = build_student(folder, dimension=known.dimension, normalized=True, prompts=known.prompts)
    return Candidate(name, model, teacher, random_weights=True)
