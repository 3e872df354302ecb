"""Checks of the values in a model's JSON files that libraries accept silently, or refuse without naming the file.

These values change the vectors or the scores: the text "false" counts as true in Python, and sentence-transformers
replaces a similarity function that it does not know by the cosine.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from leaf_st.atomic import json_or
from leaf_st.errors import ModelError
from leaf_st.models.parts import parts_of


@dataclass(frozen=True)
class _Rule:
    """What the value of a key in a JSON file must be.

    Attributes:
        key: The key; a star at the end matches any ending.
        expected: The rule in words.
        accepts: Whether a value follows the rule.
        nullable: Whether the value may be null.
    """

    key: str
    expected: str
    accepts: Callable[[Any], bool]
    nullable: bool = True

    def broken_in(self, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the keys and values of ``settings`` that break this rule."""
        for key, value in settings.items():
            is_meant = key.startswith(self.key[:-1]) if self.key.endswith("*") else key == self.key
            is_fine = self.nullable if value is None else self.accepts(value)
            if is_meant and not is_fine:
                yield key, value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    """Return whether ``value`` is text in UTF-8: JSON can hold half of a pair of surrogates."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def _are_prompts(value: object) -> bool:
    return isinstance(value, dict) and all(prompt is None or _is_text(prompt) for prompt in value.values())


def _is_similarity(value: object) -> bool:
    from sentence_transformers import SimilarityFunction

    return value in SimilarityFunction.possible_values()


def _is_dtype(value: object) -> bool:
    return isinstance(value, str) and (value == "auto" or isinstance(getattr(torch, value, None), torch.dtype))


def _is_activation(value: object) -> bool:
    from transformers.activations import ACT2FN

    return not isinstance(value, str) or value in ACT2FN


def _is_layer_of_torch(value: object) -> bool:
    """Return whether ``value`` is the path of a layer of torch that needs no arguments."""
    if not isinstance(value, str) or not value.startswith("torch."):  # own code has a message of its own
        return True
    module, _, name = value.rpartition(".")
    try:
        layer = getattr(importlib.import_module(module), name)
        return isinstance(layer, type) and issubclass(layer, nn.Module) and bool(layer())
    except (ImportError, AttributeError, TypeError):
        return False


_COUNT = "a whole number of at least 1"
_SENTENCE_TRANSFORMERS = (
    _Rule("prompts", "an object with a text or null for each name", _are_prompts, nullable=False),
    _Rule("default_prompt_name", "the name of a prompt", _is_text),
    _Rule("similarity_fn_name", "cosine, dot, euclidean or manhattan", _is_similarity),
    _Rule("truncate_dim", _COUNT, _is_count),
)
# Rules for config.json in the folder of a module, by the end of the module's type.
_OF_MODULE = {
    "Transformer": (
        _Rule("hidden_size", _COUNT, _is_count),
        _Rule("num_attention_heads", _COUNT, lambda value: isinstance(value, list) or _is_count(value)),
        _Rule("hidden_act", "the name of an activation of transformers", _is_activation),
        _Rule("torch_dtype", "the name of a number format of torch, such as float32", _is_dtype),
        _Rule("dtype", "the name of a number format of torch, such as float32", _is_dtype),
    ),
    "Pooling": (
        _Rule("pooling_mode_*", "true or false", _is_bool),
        _Rule("include_prompt", "true or false", _is_bool),
    ),
    "Dense": (
        _Rule("in_features", _COUNT, _is_count),
        _Rule("out_features", _COUNT, _is_count),
        _Rule("bias", "true or false", _is_bool),
        _Rule("activation_function", "a layer of torch without arguments", _is_layer_of_torch),
    ),
}


def require_settings(folder: Path, name: str) -> None:
    """Check the values in the JSON files of the model ``name`` in ``folder``.

    Raises:
        ModelError: If a value has the wrong type or is unknown, no mode of pooling is on, or two modules have one name.
    """
    _require(folder / "config_sentence_transformers.json", _SENTENCE_TRANSFORMERS, name)
    _require_different_names(folder / "modules.json", name)
    for part, kind in parts_of(folder):
        path = part / "config.json"
        module = kind.rpartition(".")[2]
        _require(path, _OF_MODULE.get(module, ()), name)
        modes = {key: value for key, value in json_or(path, {}).items() if key.startswith("pooling_mode")}
        if module == "Pooling" and modes and not any(modes.values()):
            raise ModelError(name, f"expected a mode of pooling in {path}, found only false: set one mode to true")


def _require(path: Path, rules: tuple[_Rule, ...], name: str) -> None:
    settings = json_or(path, {})
    for rule in rules:
        for key, value in rule.broken_in(settings):
            raise ModelError(
                name, f"expected {key} in {path} to be {rule.expected}, found {value!r}: correct the value"
            )


def _require_different_names(path: Path, name: str) -> None:
    """Check the names in modules.json: sentence-transformers keeps only the last module of a name."""
    seen = set()
    for module in json_or(path, []):
        own = module.get("name") if isinstance(module, dict) else None
        if own is not None and own in seen:
            raise ModelError(
                name,
                f"expected different names of modules in {path}, found {own!r} twice: give each module its own name",
            )
        seen.add(own)
