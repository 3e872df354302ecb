"""The student as a folder that every consumer reads right (design contract 8).

sentence-transformers 5.4 and later write new class paths and a new pooling schema, which older versions and other
servers do not know: some then serve the model without its projection. All of them know the legacy layout written
here, and new versions read it without a word.
"""

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Router, StaticEmbedding, Transformer
from torch import nn

from leaf_st.atomic import replace_folder, write_json
from leaf_st.errors import InputError
from leaf_st.models.tokens import forget_last_call, max_length_of
from leaf_st.run_folder import write_record

# More than these, which new versions write, would be refused by the constructor of an old version's Dense.
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function")
# By module, the first version of sentence-transformers that reads it as it is written here, and why.
_SINCE = {
    "Router": ("5.0", "Router, which keeps the models of queries and documents apart, came with 5.0"),
    "StaticEmbedding": ("3.2", "StaticEmbedding came with 3.2"),
    "Dense": ("3.0", "the projection is a safetensors file, which versions before 3.0 do not read"),
}
_ALMOST_FULL = 1 << 28  # bytes; a checkpoint is about as large
# Mode by the name that it has in the legacy layout.
_POOLING_KEYS = {
    "cls": "cls_token",
    "mean": "mean_tokens",
    "max": "max_tokens",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}
_LATER_POOLING_KEYS = {"weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}


def save_portable(model: SentenceTransformer, folder: Path, record: Any = None) -> None:  # noqa: ANN401
    """Save ``model`` to ``folder``, whole or not at all, in the legacy layout.

    Args:
        model: From `build_student`, `build_static` or `compose`.
        folder: A model saved here before is replaced.
        record: JSON value that says where the model comes from, for its ``recipe.json``.

    Raises:
        InputError: If a module of it is not one of sentence-transformers' own, which no consumer could load.
    """
    _require_stock(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_named(folder.parent):
        replace_folder(folder, lambda fresh: _save(model, fresh, record))


def _save(model: SentenceTransformer, folder: Path, record: Any) -> None:  # noqa: ANN401  (any JSON value)
    for route in _routes(model):
        if isinstance(route[0], Transformer):
            forget_last_call(route[0])
    model.save_pretrained(str(folder), create_model_card=False)
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for described in modules:
        module = model[described["idx"]]
        described["type"] = _legacy_type(module)
        if isinstance(module, Router):
            _router_in_legacy(module, folder)
        elif isinstance(module, StaticEmbedding):
            described["path"] = _in_a_folder_of_its_own(folder, f"0_{type(module).__name__}")
        else:
            _in_legacy(module, folder / described["path"])
    write_json(folder / "modules.json", modules)
    add_requirement(model, folder)
    if record is not None:
        write_record(folder, record)


def _routes(model: SentenceTransformer) -> list[list[nn.Module]]:
    """Return the modules that a text goes through, for each kind of text that has its own."""
    if isinstance(model[0], Router):
        return [list(cast(nn.Sequential, route)) for route in model[0].sub_modules.values()]
    return [list(model)]


def _require_stock(model: SentenceTransformer) -> None:
    for module in (module for route in _routes(model) for module in route):
        if not type(module).__module__.startswith("sentence_transformers."):
            raise InputError(
                f"{type(module).__name__} is code of the model's own, expected modules of sentence-transformers alone: "
                "no folder that everybody can load can hold it"
            )


def _legacy_type(module: nn.Module) -> str:
    return f"sentence_transformers.models.{type(module).__name__}"


def _in_legacy(module: nn.Module, folder: Path) -> None:
    """Rewrite the config that ``module`` saved to ``folder``."""
    if isinstance(module, Transformer):
        reading = {"max_seq_length": max_length_of(module), "do_lower_case": module.do_lower_case}
        write_json(folder / "sentence_bert_config.json", reading)
    elif isinstance(module, Pooling):
        write_json(folder / "config.json", _pooling_config(module))
    elif isinstance(module, Dense):
        _keep_keys(folder / "config.json", _DENSE_KEYS)


def _router_in_legacy(router: Router, folder: Path) -> None:
    """Rewrite the configs of a Router, and of the modules of its routes, each in a folder that has its name."""
    path = folder / "router_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for route, names in config["structure"].items():
        for module, name in zip(cast(nn.Sequential, router.sub_modules[route]), names, strict=True):
            config["types"][name] = _legacy_type(module)
            _in_legacy(module, folder / name)
    # Routes by modality, of which there are none here, would be refused by the constructor of an old version.
    config["parameters"].pop("route_mappings", None)
    write_json(path, config)


def add_requirement(model: SentenceTransformer, folder: Path) -> None:
    """Say in ``folder`` which version of sentence-transformers reads it: the newest that one of its modules needs."""
    names = [type(module).__name__ for module in (*model, *(module for route in _routes(model) for module in route))]
    name = next((name for name in _SINCE if name in names), None)
    if name is not None:
        least, reason = _SINCE[name]
        path = folder / "config_sentence_transformers.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["requirements"] = {"sentence_transformers": {"specifier": f">={least}", "reason": reason}}
        write_json(path, config)


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn a failed write of torch or safetensors, which say it each in their own way, into an `OSError`."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        if shutil.disk_usage(folder).free > _ALMOST_FULL:
            raise
        raise OSError(errno.ENOSPC, "no space left on the disk", str(folder)) from error


def _in_a_folder_of_its_own(folder: Path, name: str) -> str:
    """Move a table from the root of ``folder``, where versions before 5 expect a Transformer."""
    (folder / name).mkdir()
    for file in ("model.safetensors", "tokenizer.json"):
        (folder / file).rename(folder / name / file)
    return name


def _keep_keys(path: Path, keys: Sequence[str]) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {key: config[key] for key in keys})


def _pooling_config(pooling: Pooling) -> dict[str, int | bool]:
    modes = (pooling.pooling_mode,) if isinstance(pooling.pooling_mode, str) else pooling.pooling_mode
    names = {**_POOLING_KEYS, **_LATER_POOLING_KEYS}
    active = [names[mode] for mode in modes]
    # Those that all versions know are written in any case; others, and a prompt that is left out, where they are used.
    keys = {**dict.fromkeys(_POOLING_KEYS.values(), False), **dict.fromkeys(active, True)}
    prompt = {} if pooling.include_prompt else {"include_prompt": False}
    return {
        "word_embedding_dimension": pooling.embedding_dimension,
        **{f"pooling_mode_{key}": on for key, on in keys.items()},
        **prompt,
    }
