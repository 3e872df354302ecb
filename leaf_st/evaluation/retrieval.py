"""Retrieval quality in each mode on a BEIR folder, computed by mteb: scores compare with published ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.model_meta import ModelMeta
from mteb.types import Array, BatchedInput, PromptType
from sentence_transformers import SentenceTransformer
from torch.utils.data import DataLoader
from tqdm import tqdm

from leaf_st.evaluation.beir import BeirSet, load_beir
from leaf_st.evaluation.modes import Embedder, Mode, model_name
from leaf_st.evaluation.results import NDCG, Result
from leaf_st.recipe import Kind

SPLIT = "test"


class LocalRetrieval(AbsTaskRetrieval):
    """A retrieval set on this disk as an mteb task.

    Like every mteb task it seeds Python's, NumPy's and torch's generators when it is made.

    Args:
        beir: The set.
    """

    def __init__(self, beir: BeirSet) -> None:
        self.metadata = TaskMetadata(
            name=beir.name,
            description=f"The retrieval set in a local folder named {beir.name}.",
            dataset={"path": beir.name, "revision": "local"},
            type="Retrieval",
            category="t2t",
            eval_splits=[SPLIT],
            eval_langs=["und-Zzzz"],  # nothing in a BEIR folder says its language
            main_score=NDCG,
        )
        super().__init__()
        split = RetrievalSplitData(
            corpus=Dataset.from_list(beir.corpus),
            queries=Dataset.from_list(beir.queries),
            relevant_docs=beir.qrels,
            top_ranked=None,
        )
        self.dataset = {"default": {SPLIT: split}}
        self.data_loaded = True


class ModeEncoder:
    """One mode of an `Embedder` in the form that mteb calls (its ``EncoderProtocol``).

    Args:
        embedder: Embeds the texts; shared by all modes.
        mode: Says which model embeds which side.
    """

    def __init__(self, embedder: Embedder, mode: Mode) -> None:
        self.embedder = embedder
        self.mode = mode
        self.mteb_model_meta = ModelMeta.create_empty()

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,  # noqa: ANN401  (batch size and progress bar, which are the embedder's)
    ) -> Array:
        """Return the vectors of all texts of ``inputs``, shape (n, d)."""
        texts = [text for batch in inputs for text in batch["text"]]
        side: Kind = "query" if prompt_type == PromptType.query else "document"
        return self.embedder.embed(self.mode, side, texts)

    def similarity(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Return the similarity of each query to each document, shape (queries, documents)."""
        return self.embedder.document_model(self.mode).similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Return the similarity of query i to document i, shape (n,)."""
        return self.embedder.document_model(self.mode).similarity_pairwise(embeddings1, embeddings2)


def evaluate_retrieval(
    folder: Path,
    *,
    teacher: SentenceTransformer | None,
    student: SentenceTransformer,
    modes: Sequence[Mode],
    batch_size: int = 32,
) -> list[Result]:
    """Measure nDCG@10 of each mode on the BEIR folder ``folder``.

    The text of a document is title + " " + text, as mteb joins them; prompts are those saved in the models.
    Texts are encoded once per model, not once per mode. The network is not asked and nothing is written,
    except that importing mteb makes its empty cache folder, ``~/.cache/mteb`` or what MTEB_CACHE names.

    Args:
        folder: See `leaf_st.evaluation.beir`.
        teacher: The teacher; None if ``modes`` is "standard" alone.
        student: The student.
        modes: What to measure, in this order.
        batch_size: Texts that a model encodes at a time.

    Raises:
        InputError: If the folder, the modes or the models' vectors cannot be used.
    """
    beir = load_beir(folder)
    with tqdm(desc=beir.name, unit="text") as bar, _quiet_datasets():
        embedder = Embedder(teacher=teacher, student=student, modes=modes, batch_size=batch_size, progress=bar.update)
        bar.total = len(beir.corpus) * embedder.passes("document") + len(beir.queries) * embedder.passes("query")
        return [_measure(beir, embedder, mode) for mode in modes]


def _measure(beir: BeirSet, embedder: Embedder, mode: Mode) -> Result:
    outcome = mteb.evaluate(
        ModeEncoder(embedder, mode),
        LocalRetrieval(beir),
        cache=None,  # else scores would be taken from and written to the home folder
        co2_tracker=False,  # else codecarbon, where installed, asks the network for the place
        encode_kwargs={"batch_size": embedder.batch_size, "show_progress_bar": False},
        show_progress_bar=False,
    )
    teacher = embedder.models.get("teacher")
    return Result(
        set=beir.name,
        mode=mode,
        metric=NDCG,
        score=100 * float(outcome.task_results[0].scores[SPLIT][0][NDCG]),
        model=model_name(embedder.models["teacher" if mode == "teacher" else "student"]),
        teacher=None if teacher is None else model_name(teacher),
        seconds=embedder.seconds(mode),
        queries=len(beir.queries),
        documents=len(beir.corpus),
    )


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Hide the bars of datasets' map, which mteb calls for each corpus."""
    hidden_before = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden_before:
            datasets.enable_progress_bars()
