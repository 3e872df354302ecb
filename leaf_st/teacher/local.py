"""A teacher on this machine: any SentenceTransformer model."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.find import content_hash, resolve_model
from leaf_st.recipe import KINDS, Kind, TeacherSpec
from leaf_st.teacher.protocol import Fingerprint

_PROBE = ["a", "What does the norm of this vector say?", "Short and long texts alike. " * 20]


class LocalTeacher:
    """A `Teacher` over a SentenceTransformer model.

    Whether the vectors have norm 1 is measured on a few texts, not read from the modules: a model may normalise
    inside. Vectors of norm 1 are normalised once more in float32, because bfloat16 leaves norms off by 0.2 %.

    Args:
        model: The model, in the dtype it shall run in.
        name: Hub id or folder name.
        revision: Commit or hash of its files.
        prompts: Prompt by kind; the model's own where a kind is missing.
    """

    def __init__(
        self, model: SentenceTransformer, name: str, revision: str, prompts: Mapping[str, str] | None = None
    ) -> None:
        self.model = model.eval()
        own: dict[str, str] = {kind: own_prompt(model.prompts, kind) for kind in KINDS}
        self.prompts: dict[str, str] = {**own, **(prompts or {})}
        # A GPU needs large batches to be busy, a CPU is fastest while a batch fits its caches.
        self.batch_size = 32 if model.device.type == "cpu" else 256
        self._normalized = False
        probe = self.embed(_PROBE, "document")
        precise = model.dtype == torch.float32
        norms = np.linalg.norm(probe, axis=1)
        self._normalized = bool(np.abs(norms - 1).max() < (1e-4 if precise else 1e-2))
        self.fingerprint = Fingerprint(
            teacher=name,
            revision=revision,
            prompts=self.prompts,
            max_length=model.max_seq_length,
            pooling=_pooling(model),
            precision=str(model.dtype).removeprefix("torch."),
            normalized=self._normalized,
            dimension=probe.shape[1],
        )

    @classmethod
    def load(cls, spec: TeacherSpec, device: str | None = None) -> "LocalTeacher":
        """Load the teacher that ``spec`` names.

        Raises:
            InputError: If the model is nowhere or cannot be loaded.
        """
        folder = resolve_model(spec.model, spec.revision, spec.trust_remote_code)
        model = load_model(folder, spec, device)
        if spec.max_length is not None:
            _require_positions(model, spec)
            model.max_seq_length = spec.max_length
        return cls(model, spec.model, content_hash(folder), spec.prompts)

    def embed(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Embed n texts with the prompt of ``kind`` in front; returns shape (n, d), row i for text i.

        Batches hold texts of similar length, counted in tokens: by characters one token in six is padding.
        """
        if not texts:
            return np.empty((0, self.model.get_embedding_dimension() or 0), dtype=np.float32)
        prompted = [self.prompts[kind] + text for text in texts]
        order = np.argsort(token_counts(self.model, prompted), kind="stable")[::-1]
        vectors = np.empty((len(texts), self.model.get_embedding_dimension() or 0), dtype=np.float32)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = self.model.encode(
                [prompted[row] for row in rows],
                prompt="",
                batch_size=self.batch_size,
                convert_to_tensor=True,
                show_progress_bar=False,
            )
            vectors[rows] = batch.float().cpu().numpy()
        if self._normalized:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def own_prompt(prompts: Mapping[str, str | None], kind: Kind) -> str:
    """Return the prompt that ``encode_query`` or ``encode_document`` of a model with ``prompts`` would take."""
    names = ("query",) if kind == "query" else ("document", "passage", "corpus")
    return next((prompts[name] or "" for name in names if name in prompts), "")


def load_model(folder: Any, spec: TeacherSpec, device: str | None = None) -> SentenceTransformer:  # noqa: ANN401
    """Load the model in ``folder`` in the precision that ``spec`` asks for."""
    try:
        model = SentenceTransformer(
            str(folder),
            device=device,
            model_kwargs={"dtype": torch.float32},
            trust_remote_code=spec.trust_remote_code,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"teacher {spec.model} cannot be loaded from {folder}: {error}") from error
    return model.to(_dtype(spec.precision, model.device))


def bfloat16_is_fast(device: torch.device) -> bool:
    """Say whether ``device`` multiplies bfloat16 in hardware; emulation is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _dtype(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> torch.dtype:
    if precision == "auto":
        precision = "bfloat16" if bfloat16_is_fast(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _require_positions(model: SentenceTransformer, spec: TeacherSpec) -> None:
    positions = getattr(getattr(model.transformers_model, "config", None), "max_position_embeddings", None)
    if positions is not None and spec.max_length is not None and spec.max_length > positions:
        raise InputError(f"teacher.max_length: {spec.model} reads at most {positions} tokens, found {spec.max_length}")


def _pooling(model: SentenceTransformer) -> str:
    modes = [module.pooling_mode for module in model if hasattr(module, "pooling_mode")]
    return str(modes[0]) if modes else "unknown"


def token_counts(model: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.int64]:
    """Count tokens of each text, cut at the model's maximum; shape (n,). Models without batches: characters."""
    if not callable(model.tokenizer):  # such as a table of token vectors
        return np.array([len(text) for text in texts])
    encoded = model.tokenizer(list(texts), truncation=True, max_length=model.max_seq_length)
    return np.array([len(ids) for ids in encoded["input_ids"]])
