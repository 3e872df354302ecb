"""The estimate of a run: rows, steps, disk space and hours."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leaf_st.pipeline.survey import SourceRows
from leaf_st.recipe import PAPER, Recipe
from leaf_st.student.vocabulary_figures import VocabularyFigures
from leaf_st.training.budget import Pace
from leaf_st.training.token_lengths import COUNTED_AT_START

# Per row of a store: number, two hashes, and the offsets of text, kind and sentences. The hashes of the sentences of
# documents, eight bytes each, are not counted.
ROW_BYTES = 8 + 2 * 8 + 3 * 4


@dataclass(frozen=True)
class Cycle:
    """A cycle of the learning rate.

    Attributes:
        steps: Number of optimizer steps.
        first: Learning rate of the first step.
        last: Learning rate of the last step.
    """

    steps: int
    first: float
    last: float


@dataclass(frozen=True)
class ServiceCosts:
    """What a teacher that is a service costs.

    Attributes:
        address: Address of the service.
        settings: The part of the recipe that states limits and prices.
        is_limited: Whether the speed follows from the limits in the recipe, not from a measurement.
        tokens: Mean number of tokens per text.
        usd: Mean price per text in US dollars; None if it is unknown.
    """

    address: str
    settings: str
    is_limited: bool
    tokens: float
    usd: float | None


@dataclass(frozen=True)
class ModelSpeeds:
    """The speed of a run's models on this machine.

    Attributes:
        device: Type of the device that was timed.
        text: Seconds per text to embed.
        pace: The student's seconds per step and per validated row.
        dimension: Width of the teacher's vectors.
        precision: Precision of the teacher's weights.
        random_weights: Models that were timed with random weights, and why.
        token_bytes: Mean size on disk of the tokens of a text, in a store of up to 16M texts, and in a larger one.
        service: Costs of a teacher that is a service.
    """

    device: str
    text: float
    pace: Pace
    dimension: int
    precision: str
    random_weights: Mapping[str, str]
    token_bytes: tuple[float, float] = (0.0, 0.0)
    service: ServiceCosts | None = None


@dataclass(frozen=True)
class Plan:
    """The estimate of a run.

    Attributes:
        recipe: The recipe, with a number of steps in place of a time budget.
        folder: The run folder.
        texts: Training texts by source and kind, including held-out texts.
        general: Texts of the general domain by source and kind.
        held_out: Number of held-out texts.
        excluded: Rows that equal a text of the evaluation sets, if the texts are read.
        vocabulary: What the student keeps of its vocabulary for a sample of the texts; None if it keeps all tokens or
            those of a file.
        speed: The measured speed of the models.
        cycles: Cycles of the learning rate.
        batch: Texts per optimizer step.
        validations: Number of validations.
        free_bytes: Free space on the disk of the run folder.
        processes: Number of processes that work together.
        embedded: Number of texts that the run has embedded already.
        embedded_bytes: Size of their shards.
    """

    recipe: Recipe
    folder: Path
    texts: tuple[SourceRows, ...]
    general: tuple[SourceRows, ...]
    held_out: int
    excluded: int
    vocabulary: VocabularyFigures | None
    speed: ModelSpeeds
    cycles: tuple[Cycle, ...]
    batch: int
    validations: int
    free_bytes: int
    processes: int
    embedded: int = 0
    embedded_bytes: int = 0

    @property
    def rows(self) -> int:
        """Number of texts of the run."""
        return sum(part.rows for part in (*self.texts, *self.general))

    @property
    def missing(self) -> int:
        """Number of texts that are still to be embedded."""
        return self.rows - self.embedded

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return sum(cycle.steps for cycle in self.cycles)

    @property
    def vector_bytes(self) -> int:
        """Size of the vectors on disk."""
        return self.rows * self.speed.dimension * np.dtype(self.recipe.teacher.store_dtype).itemsize

    @property
    def text_bytes(self) -> int:
        """Size on disk of the texts and of all other parts of a store except the vectors."""
        return sum(part.size + part.rows * (ROW_BYTES + len(part.kind)) for part in (*self.texts, *self.general))

    @property
    def token_bytes(self) -> int:
        """Size on disk of the tokens that training keeps beside the store, from which batches are made."""
        small, large = self.speed.token_bytes
        return round(self.rows * (small if self.rows <= COUNTED_AT_START else large))

    @property
    def fetched_bytes(self) -> int:
        """Uncompressed size of the texts downloaded from the hub."""
        return sum(part.size for part in self.texts) if self.recipe.texts.source == PAPER else 0

    @property
    def validation_rows(self) -> int:
        """Texts per validation."""
        return self.held_out + sum(part.rows for part in self.general)

    @property
    def embedding_hours(self) -> float:
        """Hours of embedding the missing texts, shared by all processes."""
        return self.missing * self.speed.text / self.processes / 3600

    @property
    def training_hours(self) -> float:
        """Hours of training, including validations."""
        validation = self.validation_rows * self.speed.pace.row
        return (self.steps * self.speed.pace.step + self.validations * validation) / 3600
