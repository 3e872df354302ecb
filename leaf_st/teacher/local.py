"""A teacher on this machine: any SentenceTransformer model."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from leaf_st.errors import InputError
from leaf_st.models.identity import Identity, identify
from leaf_st.models.load import load_model, token_rows, warn_once
from leaf_st.models.precision import free_memory
from leaf_st.models.prompts import prompt_for, task_prompts, unused_prompt
from leaf_st.models.tokens import copy_tokenizer, max_length_of, require_room, token_counts
from leaf_st.models.vectors import have_norm_1, normalized
from leaf_st.recipe import KINDS, TeacherSpec
from leaf_st.teacher.local_revisions import local_revisions
from leaf_st.teacher.protocol import Fingerprint, Revisions, Similarity, Vectors

_PROBE = ["a", "What does the norm of this vector say?", "Short and long texts alike. " * 20]
_TOKENS = 256  # embedded at a time

_logger = logging.getLogger(__name__)

_OTHER_LENGTHS = ("The size of tensor", "The expanded size of the tensor")  # how errors of torch begin


class LocalTeacher:
    """A `Teacher` that is a SentenceTransformer model.

    Whether the vectors have norm 1 is measured on a few texts and not read from the modules, because a model may
    normalise inside a module. Vectors of norm 1 are normalised again in float32,
    because norms in bfloat16 are off by 0.2 %.

    Args:
        model: The model, in the dtype that it runs in.
        name: Hub id or folder.
        revisions: Hashes of its files, or its version.
        prompts: Prompt by kind; the model's own prompt is used for a missing kind.
        spec: The recipe's teacher, which determines the batch size and how the model is loaded again in float32.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        name: str,
        revisions: str | Revisions,
        prompts: Mapping[str, str] | None = None,
        spec: TeacherSpec | None = None,
    ) -> None:
        known = Revisions(revisions) if isinstance(revisions, str) else revisions
        own: dict[str, str] = {kind: prompt_for(model.prompts, kind) for kind in KINDS}
        by_kind = {**own, **(prompts or {})}
        self._name, self._spec = name, spec
        self._model = model.eval()
        self._model.prompts = {**model.prompts, **by_kind}
        # A GPU needs large batches to be busy. A CPU is fastest if a batch fits into its caches.
        default = 32 if model.device.type == "cpu" else 256
        self.batch_size = default if spec is None else spec.batch_size or default
        self._normalized = False
        probe = self.encode_document(_PROBE)
        self._normalized = have_norm_1(probe, 1e-4 if model.dtype == torch.float32 else 1e-2)
        self.fingerprint = Fingerprint(
            teacher=name,
            **known._asdict(),
            prompts=by_kind,
            # A Router with a static route for queries has no length of its own.
            max_length=max_length_of(model) or (spec.max_length if spec else None),
            pooling=_pooling(model),
            precision=str(model.dtype).removeprefix("torch."),
            normalized=self._normalized,
            dimension=probe.shape[1],
            similarity_fn_name=model.similarity_fn_name,
            task_prompts=task_prompts(model.prompts) or None,
        )

    @classmethod
    def load(cls, spec: TeacherSpec, device: str | None = None) -> "LocalTeacher":
        """Load the teacher that ``spec`` names.

        Raises:
            InputError: If the model does not exist, cannot be loaded, reads fewer tokens than ``spec.max_length``, or
                reads no token of a text after a prompt.
        """
        model = load_teacher_model(spec, device)
        teacher = cls(model, spec.model, local_revisions(spec), spec.prompts, spec)
        require_room(model, max_length_of(model), teacher.fingerprint.prompts, "teacher.max_length")
        return teacher

    @property
    def sentence_transformer(self) -> SentenceTransformer:
        """The loaded model."""
        return self._model

    @cached_property
    def identity(self) -> Identity:
        """Name and revision under which results are kept."""
        return identify(self._model)

    @property
    def dimension(self) -> int:
        """Width d of the vectors."""
        return self.fingerprint.dimension

    @property
    def prompts(self) -> Mapping[str, str]:
        """All prompts by name, "query" and "document" among them."""
        return {name: prompt or "" for name, prompt in self._model.prompts.items()}

    @property
    def similarity_fn_name(self) -> Similarity:
        """Name of the similarity function."""
        return self._model.similarity_fn_name

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self._model.parameters())

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n queries with their prompt; returns shape (n, d), row i for text i."""
        return self._encode(self._model.encode_query, texts, self.prompts["query"])

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n documents with their prompt; returns shape (n, d), row i for text i."""
        return self._encode(self._model.encode_document, texts, self.prompts["document"])

    def encode(self, texts: Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Embed n texts that are neither queries nor documents, with ``prompt`` or the model's default prompt.

        Returns shape (n, d), row i for text i.
        """
        default = self._model.default_prompt_name
        if prompt is None and default is not None:
            prompt = self._model.prompts.get(default)
        return self._encode(self._model.encode, texts, prompt or "")

    def in_float32(self) -> "LocalTeacher | None":
        """Load the model a second time, in float32.

        The result is None if the model is in float32, was not loaded by `load`, or would not fit into free memory.
        """
        if self._spec is None or self._model.dtype == torch.float32:
            return None
        device = self._model.device
        needed, free = 4 * self.parameters, free_memory(device)
        if needed > free:
            _logger.warning(
                "teacher %s: the rounding error of %s was not measured: expected %.1f GB of free memory for the "
                "weights in float32, found %.1f GB",
                *(self.fingerprint.teacher, self.fingerprint.precision, needed / 1e9, free / 1e9),
            )
            return None
        return LocalTeacher.load(replace(self._spec, precision="float32"), str(device))

    def similarity(self, queries: Vectors, documents: Vectors) -> Tensor:
        """Return the similarity of each query to each document, shape (queries, documents)."""
        return self._model.similarity(queries, documents)

    def similarity_pairwise(self, queries: Vectors, documents: Vectors) -> Tensor:
        """Return the similarity of query i to document i, shape (n,)."""
        return self._model.similarity_pairwise(queries, documents)

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens that the teacher reads of each text, shape (n,)."""
        return token_counts(self._model, texts)

    @torch.inference_mode()
    def token_vectors(self, count: int) -> Tensor:
        """Return the vectors of the first ``count`` tokens of the vocabulary, each as a text, shape (count, d).

        A token without a row in the model's embeddings, which texts do not contain, has the zero vector.
        """
        tokenizer = copy_tokenizer(self._model)
        tokenizer.no_truncation()
        single = tokenizer.encode("a")
        special = single.special_tokens_mask
        # The tokens that the tokenizer adds before and after every text, such as [CLS] and [SEP].
        before = single.ids[: special.index(0)]
        after = single.ids[len(special) - special[::-1].index(0) :]
        device, found = self._model.device, []
        rows = min(count, token_rows(self._model) or count)
        for start in range(0, rows, _TOKENS):
            ids = torch.tensor([[*before, token, *after] for token in range(start, min(start + _TOKENS, rows))])
            features = {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids, device=device)}
            found.append(self._model(features)["sentence_embedding"].float())
        # The modules of a model with truncate_dim give wider vectors than the model.
        return nn.functional.pad(torch.cat(found)[:, : self.dimension], (0, 0, 0, count - rows))

    def _encode(self, encode: Callable[..., Any], texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """Embed n texts in batches of similar length in tokens.

        With lengths in characters, one token in six would be padding.
        """
        vectors = np.empty((len(texts), self._model.get_embedding_dimension() or 0), dtype=np.float32)
        if not texts:
            return vectors
        order = np.argsort(self.token_counts([prompt + text for text in texts]), kind="stable")[::-1]
        while (found := self._in_batches(encode, [texts[row] for row in order], prompt)) is None:
            # Only now are the tensors of the failed batch freed. The longest texts come first, so little is repeated.
            torch.cuda.empty_cache()
            _logger.info(
                "teacher %s: %d texts do not fit into the memory of the GPU, so %d are embedded at a time",
                *(self._name, self.batch_size, self.batch_size // 2),
            )
            self.batch_size //= 2
        vectors[order] = found
        return normalized(vectors) if self._normalized else vectors

    def _in_batches(self, encode: Callable[..., Any], texts: list[str], prompt: str) -> NDArray[np.float32] | None:
        """Embed n texts, shape (n, d); None if a batch of several texts does not fit into the memory of the GPU."""
        try:
            batches = [
                encode(
                    texts[start : start + self.batch_size],
                    prompt=prompt,
                    batch_size=self.batch_size,
                    convert_to_tensor=True,
                    show_progress_bar=False,
                )
                for start in range(0, len(texts), self.batch_size)
            ]
            # Copied only now: a GPU computes a batch while the next one is tokenized.
            vectors: NDArray[np.float32] = torch.cat(batches).float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            if self.batch_size > 1:
                return None
            raise InputError(
                f"teacher {self._name}: expected room for one text in the memory of the GPU, "
                f"found too little ({str(error).partition(chr(10))[0]}): use a larger GPU, set teacher.max_length, or "
                "embed on the CPU"
            ) from error
        except (IndexError, RuntimeError) as error:
            # A token beyond the last position. Faults of a GPU and of the memory are others.
            if not isinstance(error, IndexError) and not str(error).startswith(_OTHER_LENGTHS):
                raise
            longest = max(token_counts(self._model, texts))
            raise InputError(
                f"teacher {self._name}: expected texts that the model can read, found a failure "
                f"({str(error).partition(chr(10))[0]}) at texts of up to {longest:,} tokens: if they are too long for "
                "the model, set teacher.max_length, or else name another teacher"
            ) from error
        return vectors


def load_teacher_model(spec: TeacherSpec, device: str | None = None) -> SentenceTransformer:
    """Load the model that ``spec`` names, with its prompts.

    Raises:
        InputError: If the model does not exist, cannot be loaded, or reads fewer tokens than ``spec.max_length``.
    """
    model = load_model(
        spec.model,
        role="teacher",
        revision=spec.revision,
        precision=spec.precision,
        max_length=spec.max_length,
        prompts=spec.prompts,
        trust_remote_code=spec.trust_remote_code,
        device=device,
    )
    for kind in KINDS:
        name = unused_prompt(model.prompts, kind)
        if name is not None and kind not in spec.prompts:
            prompt = json.dumps(model.prompts[name], ensure_ascii=False)
            warn_once(
                f"teacher {spec.model}: expected a prompt named {kind}, found {prompt} under the name {name}, which "
                f"sentence-transformers does not put before a {kind}: if each {kind} needs this prompt, set "
                f'teacher.prompts={{"{kind}": {prompt}}}'
            )
    return model


def _pooling(model: SentenceTransformer) -> str:
    modes = [module.pooling_mode for module in model if hasattr(module, "pooling_mode")]
    return str(modes[0]) if modes else "unknown"
