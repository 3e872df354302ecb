"""The outcome of a variant: its measurement, its table row, its figure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from leaf_st.atomic import write_whole
from leaf_st.evaluation.modes import ROLES
from leaf_st.models.precision import bfloat16_is_fast
from leaf_st.recipe import KINDS
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import EmbeddingStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scores = Mapping[str, Mapping[str, float]]
MODES = [mode for mode in ROLES if mode != "teacher"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one variant.

    Attributes:
        name: Name of the variant.
        rows: Number of training texts.
        samples: Number of training samples; a text counts once per epoch.
        steps: Optimizer steps.
        seconds: Training time without validation.
        l2: Mean L2 on the held-out texts after the last step, for "all" and by kind.
        curve: (samples, mean L2 on the held-out texts) during training.
        ndcg: nDCG@10 in percent, by set and mode.
        agreement: Agreement@10 in percent, by set and mode; empty if not measured.
    """

    name: str
    rows: int
    samples: int
    steps: int
    seconds: float
    l2: Mapping[str, float]
    curve: Sequence[Sequence[float]]
    ndcg: Scores
    agreement: Scores = field(default_factory=dict)

    def mean_ndcg(self, mode: str) -> float:
        """Return the mean over the sets; at least one set is required."""
        return float(np.mean([scores[mode] for scores in self.ndcg.values()]))

    def mean_agreement(self, mode: str) -> float:
        """Return the mean agreement@10 over the sets; at least one set is required."""
        return float(np.mean([scores[mode] for scores in self.agreement.values()]))


def measure_alignment(student: SentenceTransformer, store: EmbeddingStore, rows: NDArray[np.int64]) -> dict[str, float]:
    """Return the mean L2 between student and targets, for all ``rows`` and by kind."""
    ours = student.encode(store.prompted(rows), prompt="", show_progress_bar=False)
    distances = np.linalg.norm(ours - store.embeddings(rows).astype(np.float32), axis=1)
    kinds = np.array([text.kind for text in store.texts(rows)])
    groups = {"all": np.full(len(rows), True), **{kind: kinds == kind for kind in KINDS}}
    return {name: float(distances[chosen].mean()) for name, chosen in groups.items() if chosen.any()}


def measure_retrieval(student: SentenceTransformer, teacher: Teacher, sets: Sequence[Path]) -> tuple[Scores, Scores]:
    """Return nDCG@10 by set and mode, and no agreement.

    The student runs in bfloat16 where bfloat16 is fast, as the teacher does.
    """
    from leaf_st.evaluation.tasks.find import find_tasks
    from leaf_st.evaluation.tasks.runner import evaluate_tasks  # imports mteb, which takes seconds

    if bfloat16_is_fast(student.device):
        student = student.to(torch.bfloat16)
    found: dict[str, dict[str, float]] = {}
    for result in evaluate_tasks(find_tasks(list(map(str, sets))), teacher=teacher, student=student, modes=list(ROLES)):
        found.setdefault(result.set, {})[result.mode] = result.score
    return found, {}


def cache_vectors(teacher: Teacher, folder: Path) -> None:
    """Cache the teacher's vectors of queries and documents in ``folder``; they are the same for all variants."""
    folder.mkdir(parents=True, exist_ok=True)

    def remembered(encode: Callable[..., Any]) -> Callable[..., Any]:
        def recall(texts: list[str], **options: Any) -> Any:  # noqa: ANN401  (as encode has them)
            shaped = json.dumps([teacher.fingerprint.to_dict(), encode.__name__, texts])
            path = folder / f"teacher-{blake2b(shaped.encode(), digest_size=8).hexdigest()}.float32"
            if not path.is_file():
                vectors = np.asarray(encode(texts, **options), np.float32)
                write_whole(path, lambda temporary: vectors.tofile(temporary))
            return np.fromfile(path, np.float32).reshape(len(texts), -1)

        return recall

    for encode in (teacher.encode_query, teacher.encode_document):
        setattr(teacher, encode.__name__, remembered(encode))


def format_table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a Markdown table, with the teacher's nDCG@10 in the last row."""
    searched = all(outcome.ndcg for outcome in outcomes)
    header = ["variant", "texts", "samples", "steps", "minutes", "L2", *(f"L2, {kind}" for kind in KINDS)]
    compared = all(outcome.agreement for outcome in outcomes)
    of_scores = [f"nDCG@10, {mode}" for mode in MODES if searched]
    of_agreement = [f"agreement@10, {mode}" for mode in MODES if compared]
    lines = [header + of_scores + of_agreement]
    for outcome in outcomes:
        counts = [f"{count:,}" for count in (outcome.rows, outcome.samples, outcome.steps)]
        distances = [f"{outcome.l2[name]:.4f}" if name in outcome.l2 else "-" for name in ("all", *KINDS)]
        scores = [f"{outcome.mean_ndcg(mode):.2f}" for mode in MODES if searched]
        shares = [f"{outcome.mean_agreement(mode):.1f}" for mode in MODES if compared]
        lines.append([outcome.name, *counts, f"{outcome.seconds / 60:.1f}", *distances, *scores, *shares])
    if searched:
        score = f"{outcomes[0].mean_ndcg('teacher'):.2f}"
        lines.append(
            ["teacher", *[""] * (len(header) - 1), *[score] * len(MODES), *("100.0" for _ in MODES if compared)]
        )
    lines.insert(1, ["---", *["---:"] * (len(lines[0]) - 1)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw_curves(axes: "Axes", outcomes: Sequence[Outcome]) -> None:
    """Draw the validation loss of each variant over its samples."""
    for outcome in outcomes:
        samples, losses = zip(*outcome.curve, strict=True)
        axes.plot(np.array(samples) / 1000, losses, marker=".", label=outcome.name)
    axes.set(xlabel="training samples (thousands)", ylabel="mean L2, held-out texts")
    axes.legend()


def save_figure(draw: Callable[["Axes"], None], path: Path) -> None:
    """Save the figure that ``draw`` fills to ``path`` as SVG."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        print("no figure without matplotlib: pip install 'leaf-st[plots]'")
        return
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the reader's own settings
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": path.name, "axes.grid": True})
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        draw(figure.subplots())
        write_whole(path, lambda temporary: figure.savefig(temporary, format="svg", metadata={"Date": None}))
    print(path)
