"""The embedding of a run's texts by its teacher into the stores of the run folder."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from accelerate import PartialState
from filelock import FileLock
from sentence_transformers import SentenceTransformer

from leaf_st.atomic import make_folder
from leaf_st.models.load import warn_once
from leaf_st.pipeline.run_texts import RunTexts
from leaf_st.pipeline.unknown_tokens import SAMPLE, unknown_tokens
from leaf_st.recipe import TeacherSpec, TextsSpec
from leaf_st.run_folder import GENERAL, STORE
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.protocol import Fitted, Teacher
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.teacher.workers import MakerOf
from leaf_st.texts import Text
from leaf_st.texts.progress import ReadProgress


@dataclass(frozen=True)
class Embedding:
    """The texts of a run and everything that shapes their vectors.

    Attributes:
        spec: The teacher in the recipe, with the values that the run determined.
        teacher: The same teacher, opened in this process.
        texts: The texts.
        student: The untrained student.
        folder: The run folder.
        processes: The processes of the run.
        skipped: Counts the training texts that are left out, by reason.
    """

    spec: TeacherSpec
    teacher: Teacher
    texts: RunTexts
    student: SentenceTransformer
    folder: Path
    processes: PartialState
    skipped: Counter[str] = field(default_factory=Counter)

    def make_shards(self, own: Callable[[int], bool], maker_of: MakerOf | None = None) -> EmbeddingStore | None:
        """Read the texts and make the shards that ``own`` selects, as `leaf_st.teacher.workers.Make`."""
        self.skipped.clear()
        progress = ReadProgress()
        store = self.folder / STORE
        texts = iter(self.texts.read(self.teacher, self.skipped, progress))
        first = list(islice(texts, SAMPLE))
        if self.processes.is_main_process and (warning := unknown_tokens(self.student, first)):
            warn_once(warning)
        return precompute(
            chain(first, texts),
            self.teacher,
            store,
            dtype=self.spec.store_dtype,
            own=own,
            skipped=self.skipped,
            total=progress.expected_texts,
            rows_per_shard=self.spec.rows_per_shard,
            cut_at=self.texts.cut_at,
            maker=None if maker_of is None else maker_of(self.spec, self.teacher, store),
        )

    def embed_general(self, spec: TextsSpec, store: EmbeddingStore) -> None:
        """Embed the texts of the general domain ``spec``, without the training texts in ``store``."""
        texts, dtype, cut_at = self.texts.read_general(spec, store), self.spec.store_dtype, self.texts.cut_at
        with self.processes.main_process_first():
            precompute(texts, self.teacher, self.folder / GENERAL, dtype=dtype, total=len(texts), cut_at=cut_at)


def fit_teacher(teacher: Teacher, texts: Iterable[Text], path: Path, processes: PartialState) -> None:
    """Let ``teacher`` learn from the first texts, in one process, and use the result in all processes.

    Args:
        teacher: A teacher that must learn before it embeds.
        texts: The texts, which are not read if another process has written the result.
        path: The file of the result.
        processes: The processes of the run.
    """
    assert isinstance(teacher, Fitted)  # TeacherSpec.needs_fit
    if processes.is_main_process:
        make_folder(path.parent)
        # Partitions of one run start together, each with a main process: all must use what the first one learned.
        with FileLock(path.with_name(".lock")):
            if not path.is_file():
                teacher.fit(texts, path)
    processes.wait_for_everyone()
    teacher.use(path)
