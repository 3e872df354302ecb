"""What works with each family of models: the rows of docs/architectures.md.

Command:  python tests/architectures.py && python docs/generate.py
"""

import json
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from families import WIDTH, save_teacher
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.export.export import export_model
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.publishing import verify as verifying
from leaf_st.publishing.consumer import Reading
from leaf_st.recipe import TeacherSpec
from leaf_st.student.build import build_student
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.open import open_teacher
from leaf_st.training.loss import TeacherAlignedLoss

TABLE = Path(__file__).parents[1] / "docs" / "measured" / "architectures.json"
WORKS = "works"
# Longer than the attention windows of the families, so that a layer with a wrong window gives other vectors.
TEXTS = ["a text of words and letters that is longer than any window", "b", "What is it, and how many: 12?"]
_LENGTH = 32


def outcome(family: str, folder: Path) -> dict[str, str]:
    """Take ``family`` through the complete path in ``folder``; return the result of each stage."""
    own_code = family == "new"
    path = save_teacher(family, folder)
    teacher = open_teacher(TeacherSpec(str(path), precision="float32", trust_remote_code=own_code), "cpu")
    found = {"teacher": f"{WORKS} with `teacher.trust_remote_code=true`" if own_code else WORKS}
    _check_teacher(teacher)
    try:
        student = _train(teacher, _build(path, own_code=own_code))
    except InputError as error:
        return {**found, "backbone": _refusal(error), "picked layers": "-", "exported": "-", "verified": "-"}
    found["backbone"] = WORKS
    try:
        _save_and_reload(_train(teacher, _build(path, (0, student[0].model.config.num_hidden_layers - 1))), folder)
        student, found["picked layers"] = _build(path, (0,)), WORKS  # the export of one layer takes the least time
        _build(path, (1,))
    except InputError as error:
        first = "keep layer 0" in str(error)
        found["picked layers"] = f"{WORKS} with layer 0 among the layers" if first else _refusal(error)
    saved = _save_and_reload(_train(teacher, student), folder)
    return {**found, "exported": _export(student, saved), "verified": _verify(student, saved)}


def _build(path: Path, layers: tuple[int, ...] | None = None, own_code: bool = False) -> SentenceTransformer:
    return build_student(
        path,
        dimension=WIDTH,
        normalized=True,
        layers=layers,
        max_length=_LENGTH,
        device="cpu",
        prompts={"query": "find: ", "document": ""},
        trust_remote_code=own_code,
    )


def _check_teacher(teacher: LocalTeacher) -> None:
    """Check that a text has the same vector in a batch and on its own."""
    assert teacher.fingerprint.normalized is np.allclose(np.linalg.norm(teacher.encode(TEXTS), axis=1), 1, atol=1e-4)
    for encode in (teacher.encode_query, teacher.encode_document):
        one_by_one = np.concatenate([encode([text]) for text in TEXTS])
        np.testing.assert_allclose(encode(TEXTS), one_by_one, atol=2e-5, rtol=1e-4)


def _train(teacher: LocalTeacher, student: SentenceTransformer) -> SentenceTransformer:
    """Train ``student`` for three steps; check that dropout is off in training mode."""
    vectors = torch.nn.functional.normalize(torch.from_numpy(teacher.encode_document(TEXTS)))
    loss, optimizer = TeacherAlignedLoss(student), torch.optim.AdamW(student.parameters(), lr=1e-3)
    student.train()
    losses = []
    for _ in range(3):
        value = loss([student.preprocess(TEXTS)], vectors)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0]
    with torch.no_grad():
        first, second = (student(student.preprocess(TEXTS))["sentence_embedding"] for _ in range(2))
    assert torch.equal(first, second)
    return student.eval()


def _save_and_reload(student: SentenceTransformer, folder: Path) -> Path:
    save_portable(student, folder / "student")
    again = load_model(folder / "student", device="cpu")
    np.testing.assert_array_equal(again.encode(TEXTS), student.encode(TEXTS))
    return folder / "student"


def _export(student: SentenceTransformer, folder: Path) -> str:
    try:
        forms = export_model(student, folder, {"query": TEXTS, "document": TEXTS})
    except InputError as error:
        return _refusal(error)
    return "; ".join([WORKS, *(form.problem for form in forms if form.problem)])


def _verify(student: SentenceTransformer, folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verifying, "read_as_consumer", _read)
        checks = verifying.verify(folder, student)
    problems = [f"{check.name}: {check.detail}" for check in checks if check.state == "failed"]
    return "; ".join(problems) or WORKS


def _read(folder: Path, texts: tuple[str, ...]) -> Reading:
    """Read a folder in this process: a separate process takes seconds."""
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    vectors = model.encode_query(list(texts)), model.encode_document(list(texts))
    names = [type(module).__name__ for module in model]
    return Reading(names, "", model.get_embedding_dimension(), model.prompts, model.similarity_fn_name, *vectors)


def _refusal(error: InputError) -> str:
    """Return what the error has found, which is between "found" and the remedy."""
    assert "\n" not in str(error)
    return f"refused: {re.search(r', found (.*?)(?:: |$)', str(error))[1]}"


def committed() -> dict[str, dict[str, str]]:
    """Return the committed rows by family."""
    return {row["family"]: row for row in json.loads(TABLE.read_text(encoding="utf-8"))}


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for family, row in committed().items():
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            results = outcome(family, Path(folder))
        rows.append({**{key: row[key] for key in ("family", "name", "example")}, **results})
        print(f"{family}: {time.process_time() - start:.1f} s of CPU, {results}", flush=True)
    TABLE.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
