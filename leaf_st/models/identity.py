"""Which model a measurement is of: a name, and a hash of what shapes the model's vectors; and which data."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module

from leaf_st.evaluation.modes import model_name
from leaf_st.models.find import run_of
from leaf_st.student.load import read_record

_ANY_CONFIG = ("_name_or_path", "transformers_version")  # the same model has others elsewhere
_OF_A_CALL = ("padding", "truncation")  # a fast tokenizer keeps those of its last call


@dataclass(frozen=True)
class Identity:
    """A model under which results are kept.

    Attributes:
        name: As mteb wants it, with an owner: the hub id, or "local/" and the name of the recipe or the folder.
        revision: Hash of the model.
    """

    name: str
    revision: str

    def __str__(self) -> str:
        return f"{self.name} ({self.revision})"

    def with_teacher(self, teacher: "Identity") -> "Identity":
        """Return what this student and its teacher are together."""
        return Identity(f"{self.name}+{teacher.name}", f"{self.revision}+{teacher.revision}")


def identify(model: SentenceTransformer) -> Identity:
    """Return the name of ``model`` and the hash of its weights, tokenizer, modules, prompts and length.

    It is the model in memory that is hashed, not its files: prompts, lengths and dtypes may be changed after loading,
    as those of a teacher are. So models of the hub have a hash too, where a commit would be ambiguous.
    """
    settings = {
        "modules": [[type(part).__name__, cast(Module, part).get_config_dict()] for part in model.children()],
        "architecture": _architecture(model),
        "tokenizer": _tokenizer(model),
        "prompts": model.prompts,
        "default_prompt": model.default_prompt_name,
        "max_length": model.max_seq_length,
        "similarity": model.similarity_fn_name,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weights in model.state_dict().items():
        digest.update(f"{name}\0{weights.dtype}\0{tuple(weights.shape)}\0".encode())
        # NumPy has no bfloat16.
        digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return Identity(_owned(model_name(model)), digest.hexdigest()[:16])


def hash_files(files: Sequence[Path]) -> str:
    """Return a hash of the contents of ``files``: the revision of a set on this disk."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def _owned(name: str) -> str:
    folder = Path(name)
    if not folder.is_dir():
        return name if "/" in name else f"local/{name}"
    # A run and its model folder are one model.
    whole = run_of(folder) or folder
    records = (read_record(place).get("resolved") for place in (folder, whole))
    named = (record["name"] for record in records if isinstance(record, dict) and record.get("name"))
    return f"local/{next(named, whole.resolve().name)}"


def _architecture(model: SentenceTransformer) -> dict[str, Any]:
    if model.transformers_model is None:
        return {}
    config: dict[str, Any] = model.transformers_model.config.to_dict()
    return {key: value for key, value in config.items() if key not in _ANY_CONFIG}


def _tokenizer(model: SentenceTransformer) -> Any:  # noqa: ANN401  (JSON)
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if not hasattr(tokenizer, "to_str"):  # written in Python
        return sorted(tokenizer.get_vocab().items())
    return {key: value for key, value in json.loads(tokenizer.to_str()).items() if key not in _OF_A_CALL}
