"""Saving a model in the layout that every consumer reads correctly (docs/architecture.md, contract 8).

sentence-transformers 5.4 and later write new class paths and a new pooling schema. Older versions and other servers do
not know either, and some of them serve the model without its projection. All of them read the legacy layout that this
module writes, and new versions read it without a warning.
"""

import errno
import inspect
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Router, StaticEmbedding, Transformer
from torch import nn

from leaf_st.atomic import is_temporary, make_folder, read_json, replace_folder, write_json
from leaf_st.errors import InputError, cannot_write
from leaf_st.models.earlier_transformers import add_earlier_names
from leaf_st.models.intact import with_checksums
from leaf_st.models.tokens import forget_last_call, max_length_of
from leaf_st.recipe.types import local_folder
from leaf_st.run_folder import write_record

# New versions write more keys, which the constructor of an old version's Dense refuses.
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function")
# For each module, the first version of sentence-transformers that reads this layout of the module, and the reason.
_SINCE = {
    "settings": ("5.4", "texts are put into a chat template, or read with other settings that came with 5.4"),
    "Router": ("5.0", "Router, which keeps the models of queries and documents apart, came with 5.0"),
    "StaticEmbedding": ("3.2", "StaticEmbedding came with 3.2"),
    "Dense": ("3.0", "the projection is a safetensors file, which versions before 3.0 do not read"),
}
_ERROR_NUMBER = re.compile(r"(?:os error |\[Errno )(\d+)")  # how safetensors, tokenizers and `copytree` name the cause
_ALMOST_FULL = 1 << 28  # bytes; a checkpoint is about as large
# `hf download --local-dir` writes the first two beside the files of a model, and `leaf-st pull` the last.
_OF_DOWNLOADS = (".cache", ".gitattributes", ".eval_results")
# Name of each pooling mode in the legacy layout.
_POOLING_KEYS = {
    "cls": "cls_token",
    "mean": "mean_tokens",
    "max": "max_tokens",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}
_LATER_POOLING_KEYS = {"weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}
# Settings of a Transformer that reads texts otherwise than versions before 5.4.
_READING_KEYS = ("transformer_task", "modality_config", "module_output_name", "processing_kwargs")


def save_portable(
    model: SentenceTransformer,
    folder: str | Path,
    record: Mapping[str, Any] | None = None,
    beside: Mapping[str, Path] | None = None,
) -> None:
    """Save ``model`` to ``folder`` in the legacy layout, completely or not at all.

    Args:
        model: From `build_student`, `build_static` or `compose`.
        folder: Folder of the model; a model saved there before is replaced.
        record: JSON object that records the origin of the model, written to ``recipe.json`` with the checksums of
            all files.
        beside: Files to copy into the folder, by their paths in the folder.

    Raises:
        InputError: If a module is not one of sentence-transformers' own, so that no consumer could load it, or the
            folder is a URL, a file, or a folder that contains something other than a model.
    """
    _require_stock(model)
    folder = local_folder(folder)
    require_replaceable(folder)
    make_folder(folder.parent)
    with unwritable_named(folder.parent):
        replace_folder(folder, lambda fresh: _save(model, fresh, record, beside or {}))


def require_replaceable(folder: Path) -> None:
    """Check that a model can be saved to ``folder``: in place of nothing, or of a model and nothing else.

    Raises:
        InputError: If ``folder`` is a file, or a folder that contains something other than a model.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "modules.json").is_file():
        raise InputError(
            f"{folder}: expected a model or an empty folder to replace, found other files: name another folder"
        )
    if (foreign := _foreign_entry(folder)) is not None:
        raise InputError(
            f"{folder}: expected a folder with only a model, which is replaced, found {foreign}, which would be "
            f"removed: name another folder, or move {foreign} away"
        )


def _foreign_entry(folder: Path) -> str | None:
    """Return the name of the first entry of ``folder`` that no model has; None without such an entry.

    These are hidden files and folders, such as those of a git repository, and what a training writes beside its model.
    """
    names = [path.name for path in folder.iterdir() if not is_temporary(path) and path.name not in _OF_DOWNLOADS]
    return min((name for name in names if name.startswith((".", "checkpoint-")) or name == "runs"), default=None)


def _save(
    model: SentenceTransformer,
    folder: Path,
    record: Mapping[str, Any] | None,
    beside: Mapping[str, Path],
) -> None:
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
            described["path"] = _move_to_subfolder(folder, f"0_{type(module).__name__}")
        else:
            _in_legacy(module, folder / described["path"])
    write_json(folder / "modules.json", modules)
    add_requirement(model, folder)
    for name, source in beside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    if record is not None:
        write_record(folder, with_checksums(record, folder))


def _routes(model: SentenceTransformer) -> list[list[nn.Module]]:
    """Return the modules of each route of a Router; without a Router, the modules of ``model`` as the only route."""
    if isinstance(model[0], Router):
        return [list(cast(nn.Sequential, route)) for route in model[0].sub_modules.values()]
    return [list(model)]


def _require_stock(model: SentenceTransformer) -> None:
    for module in (module for route in _routes(model) for module in route):
        if not type(module).__module__.startswith("sentence_transformers."):
            raise InputError(
                f"{type(module).__name__} is custom code, which cannot be loaded from the saved folder: "
                "expected only modules of sentence-transformers, name another model"
            )


def _legacy_type(module: nn.Module) -> str:
    return f"sentence_transformers.models.{type(module).__name__}"


def _in_legacy(module: nn.Module, folder: Path) -> None:
    """Rewrite the config of ``module`` in ``folder`` in the legacy layout."""
    if isinstance(module, Transformer):
        reading = {"max_seq_length": max_length_of(module), "do_lower_case": module.do_lower_case}
        path = folder / "sentence_bert_config.json"
        if not _reads_plain_texts(module):  # without these keys, the loaded model would give other vectors
            reading |= {key: value for key, value in read_json(path).items() if key in _READING_KEYS}
        write_json(path, reading)
        add_earlier_names(folder, _inputs(module))
    elif isinstance(module, Pooling):
        write_json(folder / "config.json", _pooling_config(module))
    elif isinstance(module, Dense):
        _keep_keys(folder / "config.json", _DENSE_KEYS)


def _reads_plain_texts(module: nn.Module) -> bool:
    """Return whether ``module`` reads texts as a folder of an earlier version: without a chat template."""
    if not isinstance(module, Transformer):
        return True
    reading = (module.modality_config, module.module_output_name)
    return reading == module._get_default_modality_config({}) and not module.processing_kwargs


def _inputs(module: Transformer) -> list[str]:
    """Return what the tokenizer of ``module`` makes and its model reads."""
    read, tokenizer = inspect.signature(module.model.forward).parameters, cast(Any, module.tokenizer)
    return [name for name in tokenizer.model_input_names if name in read]


def _router_in_legacy(router: Router, folder: Path) -> None:
    """Rewrite the configs of a Router and of the modules of its routes, each in the folder of its name."""
    path = folder / "router_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for route, names in config["structure"].items():
        for module, name in zip(cast(nn.Sequential, router.sub_modules[route]), names, strict=True):
            config["types"][name] = _legacy_type(module)
            _in_legacy(module, folder / name)
    # The constructor of an old version refuses routes by modality, which a text model does not use.
    config["parameters"].pop("route_mappings", None)
    write_json(path, config)


def add_requirement(model: SentenceTransformer, folder: Path) -> None:
    """Write the oldest version of sentence-transformers that reads all modules of ``model`` into its config."""
    modules = [*model, *(module for route in _routes(model) for module in route)]
    names = [type(module).__name__ for module in modules]
    if not all(map(_reads_plain_texts, modules)):
        names.append("settings")
    name = next((name for name in _SINCE if name in names), None)
    if name is not None:
        least, reason = _SINCE[name]
        path = folder / "config_sentence_transformers.json"
        config = _settings(path)
        config["requirements"] = {"sentence_transformers": {"specifier": f">={least}", "reason": reason}}
        write_json(path, config)


def _settings(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``, a file of a user's model folder.

    Raises:
        InputError: If the file contains anything else.
    """
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): save the model again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, found {found!r}: save the model again")
    return found


@contextmanager
def unwritable_named(folder: Path) -> Iterator[None]:
    """Raise the errors that torch, safetensors, tokenizers and `copytree` give as an `OSError`, if they cannot write.

    The cause may be a full disk, a quota, or a limit for the size of a file.
    """
    try:
        yield
    except Exception as error:  # tokenizers raises a plain exception
        if isinstance(error, InputError | OSError) and not isinstance(error, shutil.Error):
            raise
        stated = _ERROR_NUMBER.search(str(error))
        number = int(stated[1]) if stated else errno.ENOSPC
        found = OSError(number, os.strerror(number), str(folder))
        # Without a number, a full disk is the likely cause only if little space is left.
        if not cannot_write(found) or (stated is None and shutil.disk_usage(folder).free > _ALMOST_FULL):
            raise
        raise found from error


def _move_to_subfolder(folder: Path, name: str) -> str:
    """Move a table from the root of ``folder``, where versions before 5 expect a Transformer; return the new path."""
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
    # Keys that all versions know are always written. Other modes and include_prompt are written only where used.
    keys = {**dict.fromkeys(_POOLING_KEYS.values(), False), **dict.fromkeys(active, True)}
    prompt = {} if pooling.include_prompt else {"include_prompt": False}
    return {
        "word_embedding_dimension": pooling.embedding_dimension,
        **{f"pooling_mode_{key}": on for key, on in keys.items()},
        **prompt,
    }
