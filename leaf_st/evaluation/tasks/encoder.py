"""The encoder that mteb calls: one mode of student and teacher."""

from typing import Any

from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.abs_encoder import get_prompt_name
from mteb.models.model_meta import ModelMeta
from mteb.types import Array, BatchedInput, PromptType
from torch.utils.data import DataLoader

from leaf_st.evaluation.embedder import Embedder
from leaf_st.evaluation.modes import Mode, Side
from leaf_st.models.identity import Identity


class ModeEncoder:
    """One mode of an `Embedder` as mteb's ``EncoderProtocol``.

    Queries and documents get the prompts of their models. Other texts, such as a sentence to classify, get the prompt
    that their model defines for the task or its type, chosen as in mteb, or else the model's default prompt, if any.

    Args:
        embedder: The embedder, which all modes share.
        mode: The mode, which determines the model of each side.
        identity: The name and revision of mteb's results.
    """

    def __init__(self, embedder: Embedder, mode: Mode, identity: Identity) -> None:
        self.embedder = embedder
        self.mode = mode
        self.mteb_model_meta = model_meta(identity)

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,  # noqa: ANN401  (batch size and progress bar, which the embedder sets)
    ) -> Array:
        """Return the vectors of all texts of ``inputs``, shape (n, d)."""
        texts = [text for batch in inputs for text in batch["text"]]
        sides: dict[PromptType | None, Side] = {PromptType.query: "query", PromptType.document: "document", None: None}
        prompt = None if prompt_type else self._task_prompt(task_metadata)
        return self.embedder.embed(self.mode, sides[prompt_type], texts, prompt)

    def _task_prompt(self, task: TaskMetadata) -> str | None:
        held = self.embedder.document_model(self.mode).prompts
        prompts = {name: prompt for name, prompt in held.items() if prompt is not None}
        name = get_prompt_name(prompts, task, None)
        return None if name is None else prompts[name]

    def similarity(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Return the similarity of each query to each document, shape (queries, documents)."""
        return self.embedder.document_model(self.mode).similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Return the similarity of query i to document i, shape (n,)."""
        return self.embedder.document_model(self.mode).similarity_pairwise(embeddings1, embeddings2)


def model_meta(identity: Identity) -> ModelMeta:
    """Return mteb's key for the results of a model."""
    return ModelMeta.create_empty({"name": identity.name, "revision": identity.revision})
