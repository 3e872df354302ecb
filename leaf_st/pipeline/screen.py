"""How well a teacher can be distilled into a student: an estimate in minutes from a sample of texts, without training.

The teacher embeds the sample. A ridge map from the untrained student's backbone to the teacher's vectors shows how near
the student starts. Measured runs of other students predict how much training adds.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leaf_st.errors import InputError
from leaf_st.models.load import load_model
from leaf_st.pipeline.exclude import excluded_contents
from leaf_st.pipeline.plan_types import ROW_BYTES
from leaf_st.pipeline.record import resolved_recipe
from leaf_st.pipeline.screening.closed_form import ClosedForm, layers_of, measure_closed_form
from leaf_st.pipeline.screening.prediction import Case, Fit
from leaf_st.pipeline.survey import SourceRows, survey
from leaf_st.pipeline.text_length import cut_to, tokens_to_embed
from leaf_st.pipeline.vocabulary import count_sample
from leaf_st.recipe import PAPER, Recipe, TeacherSpec
from leaf_st.run_folder import VOCABULARY
from leaf_st.student.layers import last_layers
from leaf_st.teacher.open import open_teacher, usable_texts
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Fitted, Service, Teacher
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts import Text
from leaf_st.texts.check import left_out
from leaf_st.training.arguments import check_arguments, named_arguments
from leaf_st.training.train import initial_student

SAMPLE = 5120
PAID_SAMPLE = 2560  # texts of a teacher that is a service
_HELD_OUT = 5  # one in five texts of the sample
_LEAST = 50  # texts

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Screening:
    """The figures of a teacher and an untrained student.

    Attributes:
        recipe: The recipe, resolved.
        start: Figures of the closed-form start.
        texts: All texts by source and kind.
        batch_size: Texts per training step.
        tokens: Expected number of tokens of all texts, if the teacher is a service.
        usd: Price of all texts in US dollars, if the recipe states a price.
    """

    recipe: Recipe
    start: ClosedForm
    texts: tuple[SourceRows, ...]
    batch_size: int
    tokens: float | None
    usd: float | None

    @property
    def rows(self) -> int:
        """Number of all texts."""
        return sum(part.rows for part in self.texts)

    @property
    def store_bytes(self) -> int:
        """Size on disk of a store of all texts."""
        width = self.start.spectrum.dimension * np.dtype(self.recipe.teacher.store_dtype).itemsize
        return sum(part.size + part.rows * (ROW_BYTES + len(part.kind) + width) for part in self.texts)

    def predicted(self, fit: Fit, steps: int) -> tuple[float, float | None]:
        """Return mean L2 and retention in percent after ``steps`` steps; None if no measured run has a retention."""
        start = self.start
        l2 = fit.l2(Case(start.l2, start.spectrum.spread, start.layers, steps * self.batch_size, start.agreement))
        return l2, fit.retention(l2, start.spectrum.spread)


def half_of_the_layers(teacher: TeacherSpec) -> tuple[int, ...]:
    """Return half of the layers of ``teacher``, as `last_layers` chooses them.

    Raises:
        InputError: If the teacher cannot be loaded, or has no layers.
    """
    code = teacher.trust_remote_code
    count = layers_of(load_model(teacher.model, revision=teacher.revision, trust_remote_code=code))
    return last_layers(max(count // 2, 1), count)


def screen(recipe: Recipe, sample: int | None = None) -> Screening:
    """Embed a sample of the texts of ``recipe``, and measure the teacher and the untrained student.

    Args:
        recipe: Texts, teacher and student.
        sample: Number of texts to embed; `SAMPLE`, or `PAID_SAMPLE` for a service, if None.

    Raises:
        InputError: If a part of the recipe cannot be used, or there are too few texts.
    """
    _require_supported(recipe)
    check_arguments(recipe)
    if sample is not None and sample < _LEAST:
        raise InputError(f"--sample {sample}: expected at least {_LEAST} texts: name a larger number")
    with tempfile.TemporaryDirectory(prefix="leaf-st-screen-") as temporary:
        folder = Path(temporary)
        recipe = resolved_recipe(recipe, folder / "run")
        excluded = excluded_contents(recipe.texts)
        teacher = open_teacher(recipe.teacher)
        student = initial_student(recipe, teacher.fingerprint)  # reports an invalid student before embedding
        cut = cut_to(tokens_to_embed(recipe, teacher, student), student, teacher.fingerprint.prompts)
        size = sample or _sample_of(teacher)
        skipped: Counter[str] = Counter()
        texts, rows = survey(
            recipe.texts, prompts=teacher.prompts, size=size, skipped=skipped, excluded=excluded, cut=cut
        )
        if recipe.student.needs_tokens:
            recipe, _ = count_sample(recipe, student, rows, folder / VOCABULARY)
            student = initial_student(recipe, teacher.fingerprint)
        if recipe.teacher.needs_fit:
            assert isinstance(teacher, Fitted)  # TeacherSpec.needs_fit
            teacher.fit(rows, folder / "fit.safetensors")
            teacher.use(folder / "fit.safetensors")
        store = _embed(rows, teacher, folder / "store", skipped)
        held_out = store.held_out(len(store) // _HELD_OUT)
        fitted = np.setdiff1d(np.arange(len(store)), store.untrained(held_out))
        start = measure_closed_form(recipe, store, student, fitted.tolist(), held_out.tolist())
    tokens, usd = _price(teacher, rows, sum(part.rows for part in texts))
    arguments = named_arguments(recipe, "cpu")
    batch_size = arguments["per_device_train_batch_size"] * arguments.get("gradient_accumulation_steps", 1)
    return Screening(recipe, start, tuple(texts), batch_size, tokens, usd)


def _require_supported(recipe: Recipe) -> None:
    if recipe.student.static:
        raise InputError(
            "student.static: expected a student with an encoder, found a static one: screen another student"
        )
    if recipe.texts.source == PAPER:
        raise InputError(
            f"texts.source: expected local texts, found {PAPER}, which would be fetched: give --texts FILE"
        )


def _sample_of(teacher: Teacher) -> int:
    return PAID_SAMPLE if isinstance(teacher, Service) else SAMPLE


def _embed(rows: Sequence[Text], teacher: Teacher, folder: Path, skipped: Counter[str]) -> EmbeddingStore:
    usable = list(usable_texts(teacher, rows, skipped))
    if len(usable) < _LEAST:
        remedy = "correct these rows, or add texts" if skipped else "add texts"
        raise InputError(f"texts: expected at least {_LEAST} texts, found {len(usable)}{left_out(skipped)}: {remedy}")
    _logger.info("embedding a sample of %s texts with %s", f"{len(usable):,}", teacher.fingerprint.teacher)
    store = precompute(usable, teacher, folder, dtype="float32", total=len(usable))
    assert store is not None  # this process embeds all shards
    return store


def _price(teacher: Teacher, rows: Sequence[Text], count: int) -> tuple[float | None, float | None]:
    """Return tokens and price of ``count`` texts like ``rows``; None if the teacher is not paid."""
    if not isinstance(teacher, Service):
        return None, None
    price = teacher.price_per_text(rows)
    return count * teacher.tokens_per_text(rows), None if price is None else count * price
