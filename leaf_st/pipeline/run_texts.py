"""The texts of a run: checked before any work, and read in the same order each time."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.tokens import copy_tokenizer, max_length_of, unread_end
from leaf_st.pipeline.exclude import excluded_contents
from leaf_st.pipeline.text_length import cut_to, tokens_read, tokens_to_embed
from leaf_st.pipeline.vocabulary import count_training_texts, require_counted_texts
from leaf_st.recipe import DOCSTRINGS, PAPER, Recipe, TextsSpec
from leaf_st.run_folder import STORE, TEXTS, VOCABULARY
from leaf_st.teacher.open import usable_texts
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import CUT_AT, FINGERPRINT, UNIQUE_BY_KIND, EmbeddingStore, digest_of_ids, read_header
from leaf_st.texts import Text
from leaf_st.texts.check import left_out
from leaf_st.texts.cut import Cutter
from leaf_st.texts.exclude import Contents
from leaf_st.texts.fold import text_id
from leaf_st.texts.paper.fetch import closed_licences, fetch, format_sources, selected_sources
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.texts.progress import ReadProgress
from leaf_st.texts.read import read_texts, require_texts
from leaf_st.texts.select import Cut
from leaf_st.training.trainer import HELD_OUT_SHARE, held_out_count

_logger = logging.getLogger(__name__)


class RunTexts:
    """The texts of a run, for all of its processes.

    Args:
        spec: The training texts in the resolved recipe.
        folder: The run folder.
        processes: The processes of the run.

    Attributes:
        excluded: The texts of the evaluation sets, which are left out; None before they are read, or without any.
        cut_at: The number of the student's tokens to which texts are cut; None before `shorten`, or if they stay
            complete.
    """

    def __init__(self, spec: TextsSpec, folder: Path, processes: PartialState) -> None:
        self.excluded: Contents | None = None
        self.cut_at: int | None = None
        self._cut: Cut = list
        self._spec, self._folder, self._processes = spec, folder, processes
        self._local = spec  # where the texts are read

    def exclude(self, sets: Sequence[str]) -> None:
        """Read the texts of the evaluation sets that the recipe excludes, which are not trained on.

        Args:
            sets: The evaluation sets that a new run would exclude.
        """
        with self._processes.main_process_first():  # mteb may download a set
            self.excluded = excluded_contents(self._spec)
        names = self._spec.exclude or ()
        if self.excluded is not None:
            self._log(f"texts that equal one of the {len(self.excluded):,} texts of {', '.join(names)} are left out")
        if others := [name for name in sets if name not in names]:
            self._log(
                f"the store of this run may contain texts of {', '.join(others)}, because it was made without these "
                "evaluation sets"
            )

    def count_tokens(self, recipe: Recipe, student: SentenceTransformer) -> Recipe:
        """Return ``recipe`` with the tokens that its student keeps, counted once per run, in the first process."""
        if self.excluded is None:
            self.excluded = excluded_contents(self._spec)
        self.download(student)
        with self._processes.main_process_first():
            return count_training_texts(recipe, student, self._local, self.excluded, self._folder / VOCABULARY)

    def shorten(self, recipe: Recipe, teacher: Teacher, student: SentenceTransformer) -> None:
        """Cut the texts to the tokens that ``student`` reads in training; those of an earlier version stay complete."""
        header = self._header_of_store()
        is_complete = header is not None and header[CUT_AT] is None
        self.cut_at = None if is_complete else tokens_to_embed(recipe, teacher, student)
        self._cut = cut_to(self.cut_at, student, teacher.fingerprint.prompts)
        if self.cut_at is not None:
            self._log(f"texts are cut to the {self.cut_at:,} tokens that the student reads in training")
        elif warning := unread_end(tokens_read(recipe, student), teacher.fingerprint.max_length):
            self._log(warning)

    def download(self, student: SentenceTransformer) -> None:
        """Download the paper's texts, cut to the tokens that ``student`` reads; does nothing for other texts."""
        if self._spec.source != PAPER:
            return
        self.log_closed_licences()
        cutter = Cutter(copy_tokenizer(student), max_length_of(student))
        with self._processes.main_process_first():
            rows = fetch(self._spec, self._folder / TEXTS, cutter)
        self._log(format_sources(rows, self._spec.per_source))
        self._local = TextsSpec(str(self._folder / TEXTS), sentences=self._spec.sentences)

    def read(self, teacher: Teacher, skipped: Counter[str], progress: ReadProgress | None = None) -> Iterable[Text]:
        """Return the training texts that ``teacher`` embeds.

        Args:
            teacher: The teacher.
            skipped: Counts the other texts, by reason.
            progress: Progress to update while the source is read.
        """
        header = self._header_of_store()
        # In a store of an earlier version, a text of both kinds is two rows.
        prompts = None if header is not None and header["unique_by"] == UNIQUE_BY_KIND else teacher.prompts
        texts = read_texts(
            self._local, skipped, prompts=prompts, progress=progress, excluded=self.excluded, cut=self._cut
        )
        return usable_texts(teacher, texts, skipped)

    def digest(self, teacher: Teacher) -> str:
        """Return what `EmbeddingStore.texts_digest` is for a store of the texts that ``teacher`` embeds."""
        return digest_of_ids(np.int64(text_id(row.text)) for row in self.read(teacher, Counter())).tobytes().hex()

    def read_general(self, spec: TextsSpec, store: EmbeddingStore) -> list[Text]:
        """Return the texts of the general domain ``spec`` that are not among the training texts in ``store``.

        Args:
            spec: The texts of the general domain.
            store: The training texts.

        Raises:
            InputError: If all texts are training texts.
        """
        skipped: Counter[str] = Counter()
        texts = {text_id(row.text): row for row in self.all_general(spec, skipped)}
        is_trained = store.include([row.text for row in texts.values()])
        fresh = [row for row, trained in zip(texts.values(), is_trained, strict=True) if not trained]
        if trained := sum(is_trained):
            skipped["also a training text"] = trained
        if not fresh:
            raise InputError(
                f"general.source {spec.source}: expected texts outside the training texts, found none: "
                "name another source"
            )
        self._log(f"{len(fresh):,} texts of {spec.source} for validation on the general domain{left_out(skipped)}")
        return fresh

    def all_general(self, spec: TextsSpec, skipped: Counter[str]) -> Iterable[Text]:
        """Return all texts of the general domain ``spec``; ``skipped`` counts those left out, by reason."""
        return read_texts(spec, skipped, "general", cut=self._cut)

    def log_closed_licences(self) -> None:
        """Log the sources without an open licence, before a download and before training."""
        if self._spec.source == PAPER and (closed := closed_licences(self._spec)):
            self._log(f"not all texts are open: {closed}")

    def _header_of_store(self) -> dict[str, Any] | None:
        """Return the header of the run's store, whose texts must stay the same; None before the store is begun."""
        store = self._folder / STORE
        return read_header(store) if (store / FINGERPRINT).is_file() else None

    def _log(self, message: str) -> None:
        if self._processes.is_main_process:
            _logger.info(message)


def require_usable_texts(recipe: Recipe, excluded: Contents | None) -> None:
    """Check that all texts of ``recipe`` can be read, and that the training texts are enough.

    Args:
        recipe: The recipe.
        excluded: Training texts that are left out.

    Raises:
        InputError: If a source cannot be read, or has too few texts.
    """
    if recipe.texts.source == PAPER:
        selected_sources(recipe.texts)
    else:
        held_out_count(require_texts(recipe.texts, most=HELD_OUT_SHARE, excluded=excluded), recipe.training)
    if recipe.general is not None:
        require_texts(recipe.general, "general")
    require_counted_texts(recipe)


def describe_texts(spec: TextsSpec) -> str:
    """Describe the source of the texts of ``spec``."""
    if spec.source == DOCSTRINGS:
        return "documentation strings of the installed Python packages"
    if spec.source != PAPER:
        return spec.source
    names = ", ".join(SOURCES[name].hub_id or name for name in selected_sources(spec))
    most = "" if spec.per_source is None else f", up to {spec.per_source:,} texts each"
    return f"{names}{most}"
