"""How time grows with layers, width and tokens: measured points, a fitted law, and three plans that follow from it.

Command:  python recipes/benchmarks/scaling.py [--output docs/measured/scaling.json]

The models are BERTs with random weights; the speed does not depend on the weights. A text of T tokens in L layers of
width H needs 24 L H^2 T + 4 L H T^2 operations, and three times as many in training. The law of a text is
``seconds = a + work / rate``. The law of a step of 32 texts is ``seconds = a + work / rate + c x parameters``, because
the optimizer reads and writes every parameter. The fit minimises the relative errors; no term is negative.

Hours, bytes and price of the plans are those that a dry run computes (`leaf_st.pipeline.plan_types.Plan`). The speeds
are the law's on a laptop, and those of docs/measured/gpu_training.json on a GPU.

Result:   docs/scaling.md has the points, the law and the plans.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from tqdm import tqdm

from leaf_st.atomic import write_json
from leaf_st.models.random_weights import save_random_weights
from leaf_st.pipeline.plan_types import Cycle, ModelSpeeds, Plan, ServiceCosts
from leaf_st.pipeline.survey import SourceRows
from leaf_st.recipe import ApiSpec, Recipe, StudentSpec, TeacherSpec, TrainingSpec
from leaf_st.student.new import new_student
from leaf_st.tables import aligned
from leaf_st.teacher.open import open_teacher
from leaf_st.texts import Text
from leaf_st.training.budget import Pace, measure_pace
from leaf_st.zoo import ARCHITECTURES, MINILM, Architecture

BATCH = 32
SHAPES = [(layers, width) for layers in (3, 6, 12) for width in (384, 768)]
TOKENS = (16, 64, 256)
SECONDS = 3.0  # of each point
GPU = Path(__file__).parents[2] / "docs" / "measured" / "gpu_training.json"

# The mix in leaf-mini's card: 43 tokens a text; English has 4.6 characters a token in the vocabulary of BERT.
MEAN_TOKENS, MEAN_CHARACTERS = 43, 198
LEAF_IR_TEACHER = Architecture(768, 12, 12, 3072)
PAPER_SAMPLES = 192_000_000
OPENAI_TOKENS_PER_MINUTE, OPENAI_USD_PER_MILLION = 10_000_000, 0.02  # of text-embedding-3-small


@dataclass(frozen=True)
class Point:
    """A measured point.

    Attributes:
        layers: Layers L.
        width: Width H.
        tokens: Tokens T of a text.
        parameters: Parameters of the model.
        text: Seconds to embed a text in a batch of 32.
        step: Seconds of a training step of 32 texts.
    """

    layers: int
    width: int
    tokens: int
    parameters: int
    text: float = 0.0
    step: float = 0.0

    @property
    def work(self) -> float:
        """Operations to embed a text."""
        return self.layers * self.width * self.tokens * (24 * self.width + 4 * self.tokens)


def shape_of(model: Architecture, tokens: int, layers: int | None = None) -> Point:
    """Return the point of ``model`` with its first ``layers``, unmeasured."""
    kept, width = layers or model.num_hidden_layers, model.hidden_size
    embeddings = (model.vocab_size + model.max_position_embeddings) * width
    return Point(kept, width, tokens, embeddings + kept * 12 * width**2)


def measure(layers: int, width: int, tokens: int, folder: Path) -> Point:
    """Return the point of a shape, measured on this machine."""
    model = folder / f"{layers}-{width}"
    if not model.is_dir():
        save_random_weights(model, Architecture(width, layers, width // 64, 4 * width))
    recipe = Recipe(
        name="scaling",
        teacher=TeacherSpec(model=str(model)),
        student=StudentSpec(backbone=str(model)),
        training=TrainingSpec(held_out_rows=1, end_learning_rate=1e-5, arguments={"learning_rate": 1e-4}),
    )
    teacher = open_teacher(recipe.teacher)
    words = " ".join(["word"] * (tokens - 3))  # and a number, [CLS] and [SEP]
    texts = [f"{words} {number}" for number in range(16 * BATCH)]
    teacher.encode_document(texts[:BATCH])
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < 3:
        started = time.perf_counter()
        teacher.encode_document(texts[:BATCH])
        times.append(time.perf_counter() - started)
    student = new_student(recipe, teacher.fingerprint)
    parameters = sum(parameter.numel() for parameter in student.parameters())
    rows = [Text(text, "document") for text in texts[: BATCH * (4 if tokens > 64 else 16)]]
    pace = measure_pace(recipe, teacher.fingerprint, rows, student)
    return Point(layers, width, tokens, parameters, statistics.median(times) / BATCH, pace.step)


def of_text(points: list[Point]) -> NDArray[np.float64]:
    """Return the columns of the law of a text, shape (points, 2)."""
    return np.array([[1.0, point.work] for point in points])


def of_step(points: list[Point]) -> NDArray[np.float64]:
    """Return the columns of the law of a step, shape (points, 3)."""
    return np.array([[1.0, 3 * BATCH * point.work, point.parameters] for point in points])


Columns = Callable[[list[Point]], NDArray[np.float64]]


@dataclass(frozen=True)
class Law:
    """A sum of columns with fitted factors."""

    columns: Columns
    factors: NDArray[np.float64]

    def __call__(self, points: list[Point]) -> NDArray[np.float64]:
        """Return the seconds of ``points``."""
        return self.columns(points) @ self.factors

    def error(self, points: list[Point], seconds: list[float]) -> float:
        """Return the root mean square of the relative errors."""
        return float(np.sqrt(np.mean((self(points) / np.array(seconds) - 1) ** 2)))


def fit(columns: Columns, points: list[Point], seconds: list[float]) -> Law:
    """Return the law with the smallest relative errors."""
    table = columns(points) / np.array(seconds)[:, None]
    scale = table.max(axis=0)
    factors, _ = nnls(table / scale, np.ones(len(points)))
    return Law(columns, factors / scale)


def plans(text: Law, step: Law) -> list[tuple[str, Plan, str]]:
    """Return a name, the estimate, and the source of the speeds of each plan."""
    minilm = ARCHITECTURES[MINILM]
    laptop = ModelSpeeds(
        device="cpu",
        text=float(text([shape_of(minilm, MEAN_TOKENS)])[0]),
        pace=Pace(float(step([shape_of(minilm, MEAN_TOKENS, 3)])[0]), 0.0),
        dimension=384,
        precision="bfloat16",
        random_weights={},
    )
    rows = json.loads(GPU.read_text(encoding="utf-8"))
    best = max((row for row in rows if row["way"].startswith("leaf_st")), key=lambda row: row["samples"])
    pace, batch = Pace(best["batch"] / best["samples"], 0.0), best["batch"]
    # The teacher's forward pass at the student's operations per second in training, of which a text needs three passes.
    student = shape_of(minilm, MEAN_TOKENS)
    teacher_text = shape_of(LEAF_IR_TEACHER, MEAN_TOKENS).work / (3 * student.work * best["samples"])
    gpu = ModelSpeeds("cuda", teacher_text, pace, 768, "bfloat16", {})
    tokens = float(MEAN_TOKENS)
    api = ApiSpec(
        url="https://api.openai.com/v1",
        model="text-embedding-3-small",
        price_per_million_tokens=OPENAI_USD_PER_MILLION,
        tokens_per_minute=OPENAI_TOKENS_PER_MINUTE,
    )
    costs = ServiceCosts(api.url, "teacher.api", True, tokens, tokens * OPENAI_USD_PER_MILLION / 1e6)
    service = ModelSpeeds("cuda", 60 * tokens / OPENAI_TOKENS_PER_MINUTE, pace, 1536, "unknown", {}, costs)
    local = TeacherSpec(model=MINILM)
    return [
        ("1M texts, laptop", _plan(local, 10**6, laptop, 10 * 10**6, BATCH, 1), "the law above"),
        ("10M texts, one H200", _plan(local, 10**7, gpu, PAPER_SAMPLES, batch, 1), "gpu_training.json"),
        ("1B texts, 64 H200", _plan(local, 10**9, gpu, PAPER_SAMPLES, batch, 64), "gpu_training.json"),
        ("1B texts, API", _plan(TeacherSpec(api=api), 10**9, service, PAPER_SAMPLES, batch, 1), "limits and price"),
    ]


def _plan(teacher: TeacherSpec, rows: int, speed: ModelSpeeds, samples: int, batch: int, workers: int) -> Plan:
    """Return the estimate of a run over ``rows`` texts of the mean length, without validations."""
    return Plan(
        recipe=Recipe(name="plan", teacher=teacher, student=StudentSpec(backbone=MINILM)),
        folder=Path("runs/plan"),
        texts=(SourceRows("texts", "document", rows, MEAN_CHARACTERS, rows * MEAN_CHARACTERS),),
        general=(),
        held_out=0,
        excluded=0,
        vocabulary=None,
        speed=speed,
        cycles=(Cycle(samples // batch, 0.0, 0.0),),
        batch=batch,
        validations=0,
        free_bytes=0,
        processes=workers,
    )


def figures(name: str, plan: Plan, source: str) -> dict[str, object]:
    """Return the numbers of a plan."""
    price = plan.speed.service and plan.speed.service.usd
    alone = replace(plan, processes=1)  # one process trains
    return {
        "plan": name,
        "vectors_gb": plan.vector_bytes / 1e9,
        "texts_gb": plan.text_bytes / 1e9,
        "embedding_hours": plan.embedding_hours,
        "usd": None if price is None else plan.rows * price,
        "steps": plan.steps,
        "batch": plan.batch,
        "training_hours": alone.training_hours,
        "speeds": source,
    }


def main() -> None:
    """Measure the points, fit the laws and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/scaling.json"), metavar="FILE")
    options = parser.parse_args()
    shapes = [(layers, width, tokens) for layers, width in SHAPES for tokens in TOKENS]
    with tempfile.TemporaryDirectory() as folder:
        points = [measure(*shape, Path(folder)) for shape in tqdm(shapes, desc="points")]
    texts, steps = [point.text for point in points], [point.step for point in points]
    text, step = fit(of_text, points, texts), fit(of_step, points, steps)
    result = {
        "points": [
            {**vars(point), "text_law": float(text([point])[0]), "step_law": float(step([point])[0])}
            for point in points
        ],
        "text": {
            "constant": text.factors[0],
            "rate": 1 / text.factors[1],
            "error": text.error(points, texts),
        },
        "step": {
            "constant": step.factors[0],
            "rate": 1 / step.factors[1],
            "parameter": step.factors[2],
            "error": step.error(points, steps),
        },
        "plans": [figures(*each) for each in plans(text, step)],
    }
    write_json(options.output, result)
    head = ["layers", "width", "tokens", "ms a text", "law", "ms a step", "law"]
    lines = [
        [
            *(str(row[key]) for key in head[:3]),
            *(f"{1e3 * row[key]:,.2f}" for key in ("text", "text_law", "step", "step_law")),
        ]
        for row in result["points"]
    ]
    print(aligned([head, *lines]))


if __name__ == "__main__":
    main()
