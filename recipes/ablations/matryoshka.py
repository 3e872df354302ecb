"""Does a student inherit Matryoshka order (paper 3.1 and 3.2, Figures 5 and 6)? A comparison of two teachers' students.

Command:  python recipes/ablations/matryoshka.py --data FOLDER ... [--texts FILE] [--samples N]
              [--output DIR] [--smoke]
Result:   README.md in this folder.

The second teacher has the order by construction: the vectors of the first teacher are rotated so that the principal
axes become the coordinates, the axis of largest variance first. Distances and products of complete vectors do not
change, and neither does Eq. 3: the two teachers, and the tasks of their students, differ only in the order of
coordinates. The rotation is a Dense layer, so the rotated teacher is an ordinary sentence-transformers folder. The
rotated targets are the plain targets, rotated.

Each student has its own run, DIR/plain and DIR/rotated; both runs resume after a stop.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from _command import common_parser, common_recipe, exit_on_input_error
from _outcomes import save_figure
from _study import BATCH
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

from leaf_st.atomic import replace_folder, write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.beir import check_folders
from leaf_st.evaluation.display import draw_curves, means
from leaf_st.evaluation.measurements.compression import CompressionRow, measure_compression
from leaf_st.evaluation.modes import ROLES
from leaf_st.models.load import load_model
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.smoke import smoke
from leaf_st.recipe import Kind
from leaf_st.student.projection import Projection
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts import Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AXES_OF = 20_000  # vectors for the principal axes
_HALVES = 6  # 384 coordinates, halved down to 12
_STYLES = {"rotated": ("-", "o"), "plain": (":", "s")}

Found = dict[str, list[CompressionRow]]  # by teacher


class RotatedStore:
    """A `Teacher` that rotates stored vectors of the plain teacher and embeds nothing.

    Args:
        plain: The plain teacher's store.
        rotated: A run of the rotated teacher.
        weight: The new axes as rows, shape (d, d).
    """

    def __init__(self, plain: EmbeddingStore, rotated: Run, weight: NDArray[np.float32]) -> None:
        self.fingerprint = rotated.teacher.fingerprint
        self.texts = plain.texts(range(len(plain)))
        self._rows = {text: row for row, text in enumerate(self.texts)}
        self._plain, self._weight = plain, weight

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of n queries in the store, shape (n, d)."""
        return self._rotated(texts, "query")

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of n documents in the store, shape (n, d)."""
        return self._rotated(texts, "document")

    def _rotated(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        rows = [self._rows[Text(text, kind)] for text in texts]
        return self._plain.embeddings(rows).astype(np.float32) @ self._weight.T


def principal_axes(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the principal axes of ``vectors``, shape (n, d), as rows in order of falling variance, shape (d, d)."""
    _, axes = np.linalg.eigh(np.cov(vectors.astype(np.float64), rowvar=False))
    return axes.T[::-1].copy()


def save_rotated(teacher: SentenceTransformer, axes: NDArray[np.float64], folder: Path) -> None:
    """Save ``teacher``, rotated to the coordinates ``axes`` of shape (d, d), to ``folder``."""
    rotation = Projection(*axes.shape)
    with torch.no_grad():
        rotation.linear.weight.copy_(torch.from_numpy(axes))
    modules = list(teacher)
    place = len(modules) - isinstance(modules[-1], Normalize)  # before Normalize, so that norms are exactly 1
    modules.insert(place, rotation)
    rotated = SentenceTransformer(
        modules=modules, prompts=teacher.prompts, similarity_fn_name=teacher.similarity_fn_name, device="cpu"
    )
    rotated.save_pretrained(str(folder), create_model_card=False)


def main(arguments: Sequence[str] | None = None) -> None:
    options = common_parser(__doc__, "runs/matryoshka").parse_args(arguments)
    with exit_on_input_error("matryoshka"):
        _conduct(options)


def _conduct(options: argparse.Namespace) -> None:
    if not (options.data or options.smoke):
        raise InputError("--data: expected BEIR folders to search, found none: name at least one")
    if options.samples < BATCH:
        raise InputError(
            f"--samples: expected at least {BATCH}, the batch size, found {options.samples}: raise --samples"
        )
    check_folders(options.data)
    folder = options.output or Path("runs") / ("matryoshka-smoke" if options.smoke else "matryoshka")
    plain = _plain(options, folder)
    store = plain.embed()
    assert store is not None  # one partition makes the complete store
    runs = {"plain": plain, "rotated": _rotated(plain, store, folder)}
    found = {name: _measure(run, options.data) for name, run in runs.items()}
    if not options.data:
        print("both students are trained; --data FOLDER also searches BEIR folders with them")
        return
    print(f"\n{format_table(found)}")
    report = folder / "report"
    report.mkdir(exist_ok=True)
    rows = [{"coordinates": name, **asdict(row)} for name in found for row in found[name]]
    write_json(report / "matryoshka.json", rows)
    save_figure(lambda axes: _draw(axes, found), report / "matryoshka.svg")


def _plain(options: argparse.Namespace, folder: Path) -> Run:
    recipe = common_recipe("matryoshka", options)
    arguments = {**recipe.training.arguments, "max_steps": options.samples // BATCH}
    recipe = replace(recipe, training=replace(recipe.training, arguments=arguments))
    return Run(smoke(recipe, folder / "plain") if options.smoke else recipe, folder / "plain")


def _rotated(plain: Run, store: EmbeddingStore, folder: Path) -> Run:
    """Return the run of the rotated teacher with a complete store; creates the teacher if it does not exist."""
    teacher, spec = folder / "teacher", plain.recipe.teacher
    if not teacher.is_dir():
        rows = np.random.default_rng(0).permutation(len(store))[:_AXES_OF]
        axes = principal_axes(store.embeddings(np.sort(rows).tolist()))
        model = load_model(spec.model, revision=spec.revision, trust_remote_code=spec.trust_remote_code)
        replace_folder(teacher, lambda fresh: save_rotated(model, axes, fresh))
    recipe = replace(plain.recipe, teacher=replace(spec, model=str(teacher), revision=None))
    run = Run(recipe, folder / "rotated")
    (weight,) = (part.linear.weight for part in load_model(str(teacher)) if isinstance(part, Dense))
    rotated = RotatedStore(store, run, weight.detach().cpu().numpy())
    precompute(rotated.texts, rotated, run.folder / "store", dtype=spec.store_dtype, total=len(store))
    run.embed()  # finds the complete store
    return run


def _measure(run: Run, sets: Sequence[Path]) -> list[CompressionRow]:
    """Train the student of ``run``, and measure student and teacher; reuses finished work."""
    student = run.train()
    path = run.folder / "results" / "compression.json"
    if path.is_file():
        known = [CompressionRow(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
        if {row.set for row in known} == {folder.resolve().name for folder in sets}:
            return known
    run.measure_alignment()
    spec = replace(run.recipe.teacher, precision="float32", max_length=student.max_seq_length)
    teacher = open_teacher(spec)
    width = teacher.dimension
    rows = []
    for folder in sets:
        rows += measure_compression(
            folder,
            teacher=teacher,
            student=student,
            dimensions=[width >> step for step in range(_HALVES)],
            precisions=["float32"],
        )
    write_json(path, [asdict(row) for row in rows])
    return rows


def format_table(found: Found) -> str:
    """Return mean nDCG@10 as a Markdown table, one row for each number of coordinates."""
    scores = _scores(found)
    columns = [(name, mode) for name in found for mode in ROLES]
    lines = [["dimensions", *(f"{mode}, {name}" for name, mode in columns)]]
    lines.append(["---:"] * len(lines[0]))
    for dimension in dict.fromkeys(dimension for *_, dimension in scores):
        lines.append([str(dimension), *(f"{scores[mode, name, dimension]:.2f}" for name, mode in columns)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _draw(axes: "Axes", found: Found) -> None:
    draw_curves(axes, _scores(found), _STYLES)
    axes.set(xlabel="first coordinates kept (log scale)", ylabel="nDCG@10 (%), mean of the sets")


def _scores(found: Found) -> dict[tuple[str, str, int], float]:
    """Return mean nDCG@10 by mode, teacher and dimension."""
    return {
        (mode, name, dimension): score
        for name, rows in found.items()
        for (mode, dimension), score in means(
            rows, lambda row: (row.mode, row.dimension), lambda row: row.score
        ).items()
    }


if __name__ == "__main__":
    main()
