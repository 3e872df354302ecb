"""Identity of a model or a data set: a name, and a hash of everything that shapes the vectors."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from leaf_st.models.earlier_transformers import full_attention_every
from leaf_st.run_folder import read_record, run_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Module
    from torch import nn

_PLACE = ("_name_or_path", "transformers_version")  # these differ between copies of one model
_LAST_CALL = ("padding", "truncation")  # a fast tokenizer keeps the values of its last call


@dataclass(frozen=True)
class Identity:
    """The name and revision under which the results of a model are kept.

    Attributes:
        name: The hub id, or "local/" and the name of the recipe or the folder, because mteb needs an owner.
        revision: Hash of the model.
        earlier: The hash that earlier versions computed, if it differs; their results keep it.
    """

    name: str
    revision: str
    earlier: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.revision})"

    def has_revision(self, revision: str | None) -> bool:
        """Return whether ``revision``, that of a result, is this model's, whichever version computed it."""
        return revision is not None and revision in (self.revision, self.earlier)

    def with_teacher(self, teacher: "Identity") -> "Identity":
        """Return the identity of this student together with ``teacher``."""
        return Identity(f"{self.name}+{teacher.name}", f"{self.revision}+{teacher.revision}")


def identify(model: "SentenceTransformer") -> Identity:
    """Return the name of ``model`` and the hash of its weights, tokenizer, modules, prompts and length.

    The hash is of the model in memory and not of its files, because prompts, length and dtype may change after loading.
    A model of the hub has such a hash too, because its commit does not determine them.
    """
    import torch

    settings = {
        "modules": [[type(part).__name__, cast("Module", part).get_config_dict()] for part in model.children()],
        "architecture": _architecture(model.transformers_model),
        "tokenizer": _tokenizer(model.tokenizer),
        "prompts": model.prompts,
        "default_prompt": model.default_prompt_name,
        "max_length": model.max_seq_length,
        "similarity": model.similarity_fn_name,
        # Only if set, so that the hashes of other models are those of earlier versions.
        **({} if model.truncate_dim is None else {"truncate_dim": model.truncate_dim}),
        **({"truncation_side": side} if (side := _truncation_side(model.tokenizer)) != "right" else {}),
    }
    versions = [settings]
    if routes := _routes(model):  # earlier versions left them out
        versions.insert(0, {**settings, "routes": routes})
    digests = [hashlib.sha256(json.dumps(one, sort_keys=True, default=str).encode()) for one in versions]
    for name, weights in model.state_dict().items():
        for digest in digests:
            digest.update(f"{name}\0{weights.dtype}\0{tuple(weights.shape)}\0".encode())
            # NumPy has no bfloat16.
            digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return Identity(with_owner(model_name(model)), *(digest.hexdigest()[:16] for digest in digests))


def hash_files(files: Sequence[Path]) -> str:
    """Return a hash of the contents of ``files``: the revision of a local data set."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def model_name(model: "SentenceTransformer") -> str:
    """Return the name of ``model`` in results: the id on its card, or else the place from which it was loaded."""
    if model.model_card_data.model_id:
        return str(model.model_card_data.model_id)
    transformer = model.transformers_model
    return str(transformer.config._name_or_path) if transformer is not None else "unnamed"


def local_name(name: str) -> str:
    """Return the name of a model that is not on the hub, with the owner that mteb needs."""
    return f"local/{name}"


def with_owner(name: str) -> str:
    """Return the name in results of the model ``name``, a folder or a hub id.

    A run folder and its model folder are the same model and have the name of the recipe.
    """
    folder = Path(name)
    if not folder.is_dir():
        return name if "/" in name else local_name(name)
    run = run_of(folder) or folder
    records = (read_record(place).get("resolved") for place in (folder, run))
    names = (record["name"] for record in records if isinstance(record, dict) and record.get("name"))
    return local_name(next(names, run.resolve().name))


def _routes(model: "SentenceTransformer") -> list[Any]:
    """Return the settings of the modules in the routes of a Router, which its own settings leave out."""
    from sentence_transformers.sentence_transformer.modules import Router

    routers = [part for part in model.children() if isinstance(part, Router)]
    return [
        [
            route,
            type(module).__name__,
            cast("Module", module).get_config_dict(),
            _architecture(getattr(module, "model", None)),
            _tokenizer(getattr(module, "tokenizer", None)),
        ]
        for router in routers
        for route, modules in router.sub_modules.items()
        for module in cast("nn.Sequential", modules)
    ]


def _architecture(transformer: Any) -> dict[str, Any]:  # noqa: ANN401  (a model of transformers or None)
    if not hasattr(transformer, "config"):
        return {}
    config: dict[str, Any] = transformer.config.to_dict()
    every = full_attention_every(config.get("layer_types") or [])
    if config.get("model_type") == "modernbert" and every is not None:  # only some copies of a model have this value
        config["global_attn_every_n_layers"] = every
    return {key: value for key, value in config.items() if key not in _PLACE}


def _truncation_side(tokenizer: object) -> str:
    """Return the side on which a long text is cut, which `_tokenizer` leaves out with the values of the last call."""
    side: str = getattr(tokenizer, "truncation_side", "right")
    return side


def _tokenizer(tokenizer: Any) -> Any:  # noqa: ANN401  (JSON)
    from sentence_transformers.sentence_transformer.modules.tokenizer import TransformersTokenizerWrapper, WordTokenizer

    if tokenizer is None:
        return None
    if isinstance(tokenizer, TransformersTokenizerWrapper):
        tokenizer = tokenizer.tokenizer
    if isinstance(tokenizer, WordTokenizer):  # of sentence-transformers: words, stop words and whether case counts
        return {name: sorted(value) if isinstance(value, set) else value for name, value in vars(tokenizer).items()}
    tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(tokenizer, "to_str"):  # written in Python
        return sorted(tokenizer.get_vocab().items())
    return {key: value for key, value in json.loads(tokenizer.to_str()).items() if key not in _LAST_CALL}
