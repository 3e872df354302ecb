"""The configs of a saved transformer with the names that versions of transformers before 5 read.

transformers 5 writes the parameters of rotary positions, the layers with a window, and special tokens under new names.
Earlier versions, which other servers still use, ignore the new names: they refuse the tokenizer, or compute other
vectors without a message.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from leaf_st.atomic import read_json, write_json
from leaf_st.models.end_token import FOLLOWED_BY, token_of

_NEW_CLASS, _CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"  # two names of one class


def add_earlier_names(folder: Path, inputs: Sequence[str]) -> None:
    """Add the earlier names to config.json and tokenizer_config.json of the transformer in ``folder``.

    Earlier versions pass every output of the tokenizer to the model. Some models refuse token types, and others add
    them to the vectors. So the names of the model's inputs are written too.

    Versions from 5 on read the earlier names as they read the new ones. If earlier versions cannot describe the layers
    of the model, the files stay as they are: the tokenizer of such a family has a class that earlier versions refuse.

    Args:
        folder: The folder.
        inputs: What the tokenizer gives to the model.
    """
    config = read_json(folder / "config.json")
    names = earlier_names(config)
    if names is None:
        return
    if names:
        write_json(folder / "config.json", {**config, **names})
    path = folder / "tokenizer_config.json"
    if path.is_file():
        tokenizer = _earlier_tokenizer(read_json(path))
        write_json(path, {**tokenizer, **_added_tokens(folder, tokenizer), "model_input_names": list(inputs)})


def earlier_names(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return values of ``config`` by the names that earlier versions read; None if they cannot describe the model."""
    rope = config.get("rope_parameters")
    if not rope:
        return {}
    of_layers = {name: value for name, value in rope.items() if isinstance(value, dict)}
    if not of_layers:
        return _flat(rope)
    if of_layers.keys() != {"full_attention", "sliding_attention"}:
        return None
    whole, window = of_layers["full_attention"], of_layers["sliding_attention"]
    if window.get("rope_type", "default") != "default":
        return None
    if config.get("model_type") == "gemma3_text":
        return {**_flat(whole), "rope_local_base_freq": window["rope_theta"]}
    every = full_attention_every(config.get("layer_types") or [])
    if config.get("model_type") != "modernbert" or every is None or whole.get("rope_type", "default") != "default":
        return None
    thetas = {"global_rope_theta": whole["rope_theta"], "local_rope_theta": window["rope_theta"]}
    return {**thetas, "global_attn_every_n_layers": every}


def _flat(rope: Mapping[str, Any]) -> dict[str, Any]:
    scaling = {name: value for name, value in rope.items() if name not in ("rope_theta", "partial_rotary_factor")}
    found = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    return found if scaling.get("rope_type", "default") == "default" else {**found, "rope_scaling": scaling}


def full_attention_every(kinds: Sequence[str]) -> int | None:
    """Return N if the layers 0, N, 2N and so on have full attention, and no others; None for another pattern."""
    for every in range(1, len(kinds) + 1):
        if all((kind == "full_attention") is (layer % every == 0) for layer, kind in enumerate(kinds)):
            return every
    return None


def _earlier_tokenizer(config: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(config)
    if found.get("tokenizer_class") == _NEW_CLASS:
        found["tokenizer_class"] = _CLASS
    if isinstance(found.get("extra_special_tokens"), list):
        found["additional_special_tokens"] = found.pop("extra_special_tokens")
    return found


def _added_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, bool]:
    """Return which tokens the tokenizer in ``folder`` adds to a text, for classes that read this from settings only."""
    path = folder / "tokenizer.json"
    if not str(config.get("tokenizer_class")).startswith(FOLLOWED_BY) or not path.is_file():
        return {}
    tokenizer: Any = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokens = tokenizer.encode("a").tokens
    added = {"add_bos_token": (tokens[0], "bos_token"), "add_eos_token": (tokens[-1], "eos_token")}
    return {name: token == token_of(config, key) for name, (token, key) in added.items()}
