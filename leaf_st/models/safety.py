"""Checks of a model folder before anything in the folder is loaded.

A model may come from a stranger. The folder must contain every file that is loaded, weights must be safetensors, which
run no code, and code of the model's own must be wanted.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from leaf_st.atomic import json_or, read_json
from leaf_st.errors import ModelError
from leaf_st.models.find import PICKLED, TOKEN_TABLES, commit_of, files_of_vectors, is_pickled_weights, pickle_problem
from leaf_st.models.lfs import is_lfs_pointer
from leaf_st.models.parts import parts_of
from leaf_st.models.tokens import UNLIMITED

# The settings of sentence-transformers that become arguments of transformers' loaders, by their new and old names.
_ARGUMENTS_OF_TOKENIZERS = ("processor_kwargs", "tokenizer_args")
_ARGUMENTS = ("model_kwargs", "model_args", *_ARGUMENTS_OF_TOKENIZERS, "config_kwargs", "config_args")
_WEIGHTS = "model.safetensors"
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "bpe*", *TOKEN_TABLES)
_OF_BYTES = ("ByT5", "Canine", "Perceiver")
# Model types whose classes transformers took over from the code of repositories, which still name that code. Code for
# another type, with the name of a class of transformers, changes this class, such as to attention in both directions.
_TAKEN_OVER = ("eurobert", "falcon", "gte", "nomic_bert", "phi", "phi3")


def require_safe(folder: Path, name: str) -> None:
    """Check that the model ``name`` in ``folder`` loads only files in the folder, and only safetensors.

    Raises:
        ModelError: If a link, a path or a setting leads out of the folder, weights are pickled or only an adapter, a
            file is a pointer of git LFS, or the folder contains a pipe or device.
    """
    folder = folder.resolve()
    places = [folder]
    snapshot = next((part for part in (folder, *folder.parents) if commit_of(part) is not None), None)
    if snapshot is not None:  # in the hub's cache: its files, and files that several models share
        places += [parent / "blobs" for parent in snapshot.parents[1:3]]
    for path in _entries(folder):
        if path.is_symlink() and not _is_inside(path, places):
            raise ModelError(
                name,
                f"expected a folder that contains all of its files, found the link {path} to {os.readlink(path)}: "
                "replace the link by a copy of the file",
            )
        if _is_special(path):
            raise ModelError(name, f"expected files, found the pipe or device {path}: remove {path.name}")
    for path in sorted(files_of_vectors(folder)):
        if path.suffix not in PICKLED and path.is_file() and is_lfs_pointer(path):
            remedy = f"run `git lfs pull` in {path.parent}"
            if snapshot is not None:  # the owner uploaded the pointer
                remedy = "name another revision or model, or ask the owner of the model to upload the file"
            raise ModelError(name, f"expected the file {path}, found a pointer of git LFS: {remedy}")
    for part, kind in parts_of(folder):
        if not _is_inside(part, [folder]):
            raise ModelError(
                name,
                f"expected modules in {folder}, found the path {os.path.relpath(part, folder)} in its modules.json: "
                "move the module into the folder, or name another model",
            )
        _require_weights(part, name)
        _require_files(part, kind, name)
        _require_length(part, name)
        _require_own_settings(part, name)


def own_code(folder: Path) -> str | None:
    """Return what the model in ``folder`` needs its own code for, and the name of the code; None if it needs none.

    transformers has the classes of some models that were first published with code; these do not count.
    """
    for part, kind in parts_of(folder):
        if not kind.startswith("sentence_transformers."):
            return f"expected modules of sentence-transformers, found custom code ({kind})"
        config = json_or(part / "config.json", {})
        activation = config.get("activation_function")
        if kind.endswith(".Dense") and isinstance(activation, str) and not activation.startswith("torch."):
            return f"expected an activation function of torch, found custom code ({activation})"
        kernel = config.get("_attn_implementation")
        if isinstance(kernel, str) and "/" in kernel:
            return f"expected an attention of transformers, found custom code ({kernel})"
        if (code := _own_class(config)) is not None:
            return f"expected a model type of transformers, found custom code ({code})"
        if (code := _own_tokenizer(part)) is not None and config.get("model_type") not in _TAKEN_OVER:
            return f"expected a tokenizer of transformers, found custom code ({code})"
    return None


def class_of_files(folder: Path) -> str | None:
    """Return the class in the model's own code that made the files in ``folder``; None if they name no class."""
    maps = (_mapping(json_or(part / "config.json", {}).get("auto_map")) for part, _ in parts_of(folder))
    return next((str(own["AutoModel"]) for own in maps if own.get("AutoModel")), None)


class LengthSetting(NamedTuple):
    """The setting of a model folder that determines how many tokens of a text the model reads.

    Attributes:
        field: Name of the setting.
        path: The file.
        value: The value, which may be of any type.
    """

    field: str
    path: Path
    value: Any

    def __str__(self) -> str:
        return f"{self.field} in {self.path}"


def length_setting(part: Path) -> LengthSetting | None:
    """Return the setting in the folder ``part`` of a module that determines the length; None if no file sets it."""
    configs = {path: json_or(path, {}) for path in sorted(part.glob("sentence_*_config.json"))}
    for path, config in configs.items():  # these replace the tokenizer's own setting
        arguments = [_mapping(config.get(group)) for group in _ARGUMENTS_OF_TOKENIZERS]
        named = [("model_max_length", group.get("model_max_length")) for group in arguments]
        for field, value in [*named, ("max_seq_length", config.get("max_seq_length"))]:
            if value is not None:
                return LengthSetting(field, path, value)
    path = part / "tokenizer_config.json"
    value = json_or(path, {}).get("model_max_length")
    return None if value is None else LengthSetting("model_max_length", path, value)


def damaged_settings(folder: Path) -> str | None:
    """Return which file of the model in ``folder`` is no JSON of its kind, and why; None if there is no such file."""
    for path in sorted(path for path in files_of_vectors(folder) if path.suffix == ".json" and path.is_file()):
        expected: type = list if path.name == "modules.json" else dict
        try:
            if path.read_bytes().decode().startswith("\ufeff"):  # `json` also reads UTF-16; transformers reads neither
                return f"expected JSON without a byte-order mark, found one in {path}: save the file without it"
            found = read_json(path)
        except (OSError, ValueError) as error:
            return f"expected JSON in UTF-8, found damaged content in {path} ({error})"
        if not isinstance(found, expected):
            kinds: dict[type, str] = {list: "a list", dict: "an object"}
            return f"expected {kinds[expected]} in {path}, found {kinds.get(type(found), repr(found))}"
    return None


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the files, folders and links in ``folder`` and its subfolders, without following links."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *files))


def _is_special(path: Path) -> bool:
    """Return whether ``path`` is a pipe, a socket or a device, whose reader might wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:  # a link to nothing: loading names the missing file
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _is_inside(path: Path, places: Sequence[Path]) -> bool:
    if "\0" in str(path):
        return False
    real = Path(os.path.realpath(path))  # Path.resolve raises an exception for links that form a circle
    return any(real.is_relative_to(place.resolve()) for place in places)


def _require_files(part: Path, kind: str, name: str) -> None:
    """Check that the folder ``part`` of a module has the files without which loading fails, or gives other vectors."""
    module = kind.rpartition(".")[2]
    if module in ("Transformer", "Pooling", "Dense") and not (part / "config.json").is_file():
        raise ModelError(name, f"expected the file {part / 'config.json'}, found none: name another model")
    there = sorted(path.name for path in part.glob("*.safetensors*"))
    is_complete = module not in ("Transformer", "Dense") or {_WEIGHTS, f"{_WEIGHTS}.index.json"} & {*there}
    if not is_complete and not any(map(is_pickled_weights, part.glob("*"))):  # a pickle has its own message
        found = ", ".join(there) or "none"
        remedy = "name another model"
        if commit_of(part) or commit_of(part.parent):
            remedy = "pickled weights are not downloaded; ask the model's owner for safetensors, or name another model"
        raise ModelError(name, f"expected the file {part / _WEIGHTS}, found {found}: {remedy}")
    if module == "Transformer" and not _has_vocabulary(part):  # transformers would make an empty vocabulary
        raise ModelError(
            name,
            f"expected a tokenizer in {part}, such as tokenizer.json, found no file of a vocabulary: restore the file, "
            "or name another model",
        )


def _has_vocabulary(part: Path) -> bool:
    """Return whether the folder ``part`` holds a vocabulary, or has a tokenizer of bytes, which needs none."""
    of_bytes = str(json_or(part / "tokenizer_config.json", {}).get("tokenizer_class")).startswith(_OF_BYTES)
    return of_bytes or any(path.is_file() for pattern in _VOCABULARIES for path in part.glob(pattern))


def _require_weights(part: Path, name: str) -> None:
    """Check that the weights in the folder ``part`` of a module are safetensors in this folder, and complete."""
    if (part / "adapter_config.json").is_file():
        raise ModelError(
            name,
            f"expected complete weights, found an adapter (LoRA) in {part}, whose base model is elsewhere: merge the "
            "adapter into its base model (peft: merge_and_unload) and name the folder of the merged model",
        )
    pickled = sorted(filter(is_pickled_weights, part.glob("*")))
    if pickled and not any(part.glob("*.safetensors")):
        raise ModelError(name, pickle_problem(pickled[0]))
    for index in part.glob("*.safetensors.index.json"):
        for shard in _mapping(json_or(index, {}).get("weight_map")).values():
            if Path(str(shard)).name != shard or Path(shard).suffix != ".safetensors":
                raise ModelError(
                    name,
                    f"expected names of safetensors files beside {index}, found {shard!r}: save the model again, or "
                    "name another model",
                )
            if not (part / shard).is_file():
                raise ModelError(
                    name,
                    f"expected the file {part / shard}, which {index.name} lists, found none: restore the file, save "
                    "the model again, or name another model",
                )


def _require_length(part: Path, name: str) -> None:
    """Check that the length that the files in ``part`` set is a number of tokens."""
    if (found := length_setting(part)) is None:
        return
    # A tokenizer without a limit has 1e30, which some programs write as a float.
    is_whole = type(found.value) is int or (type(found.value) is float and found.value >= UNLIMITED)
    if not is_whole or found.value < 1:
        raise ModelError(
            name,
            f"expected {found} to be a whole number of at least 1, or null, found {found.value!r}: correct the number",
        )


def _require_own_settings(part: Path, name: str) -> None:
    """Check that the settings of sentence-transformers in ``part`` name no file elsewhere."""
    for path in part.glob("sentence_*_config.json"):
        config = json_or(path, {})
        arguments = {key: value for group in _ARGUMENTS for key, value in _mapping(config.get(group)).items()}
        named = {key: value for key, value in arguments.items() if isinstance(value, str) and set(value) & set("/\\")}
        named |= {key: value for key, value in config.items() if key == "tokenizer_name_or_path" and value}
        for key, value in named.items():
            raise ModelError(
                name,
                f"expected a folder that contains all of its files, found {key} {value!r} in {path}: remove the "
                "setting, and save the model again",
            )


def _own_class(config: dict[str, Any]) -> str | None:
    """Return the class in the auto_map of ``config`` that transformers does not have; None if there is none."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # type: ignore[attr-defined]
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    own, kind = _mapping(config.get("auto_map")), str(config.get("model_type"))
    for key, known in (("AutoModel", MODEL_MAPPING_NAMES), ("AutoConfig", CONFIG_MAPPING_NAMES)):
        there = known.get(kind, ()) if kind in _TAKEN_OVER else ()
        name = str(own.get(key) or "")
        if name and name.rpartition(".")[2] not in ([there] if isinstance(there, str) else there):
            return name
    return None


def _own_tokenizer(part: Path) -> str | None:
    """Return the class of the tokenizer in the folder ``part`` if it is the model's own code; None if not."""
    own = json_or(part / "tokenizer_config.json", {}).get("auto_map")
    names = own.get("AutoTokenizer") if isinstance(own, dict) else own  # a plain list in files of early versions
    names = names if isinstance(names, list) else [names]  # the class in Python and the fast one
    return next((str(name) for name in reversed(names) if name), None)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
