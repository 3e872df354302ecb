"""Building a smaller transformer from some encoder layers of a larger one."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from leaf_st.errors import InputError

# Lists in a config that may have as many entries as the model has layers, but no entry for each layer.
_OF_ALL_LAYERS = ("eos_token_id", "pos_att_type")


def last_layers(count: int, of: int) -> tuple[int, ...]:
    """Return ``count`` of the layers 0 to ``of`` - 1: the first layer and the last layers; of one, the last layer."""
    return (of - 1,) if count == 1 else (0, *range(of - count + 1, of))


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """Return ``model`` with only the encoder layers ``layers``, as a model of its changed config.

    The number of a layer determines its attention window, its rotary base and its place in a cache. The layers are
    therefore copied into a new model, which equals the student after saving and loading.

    Raises:
        InputError: If a layer does not exist or is named twice, or if a model of the changed config cannot be made or
            has different weights, so that the student could not be loaded after saving, or if its layers compute with
            other values.
    """
    config = model.config
    count = getattr(config, "num_hidden_layers", None)
    if count is None:  # such as a model of texts and images, with a config for each
        raise InputError(
            f"student.layers: expected a model with one stack of layers, found none in the config of the model type "
            f"{config.model_type}: set student.layers=None and name another student.backbone"
        )
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= count:
        raise InputError(
            f"student.layers: expected some of the layers 0 to {count - 1} of the {config.model_type} model in rising "
            f"order, found {_listed(layers)}: correct the list"
        )
    if getattr(config, "scale_attn_by_inverse_layer_idx", False) and list(layers) != list(range(len(layers))):
        raise InputError(
            f"student.layers: expected the first layers, such as {_listed(range(len(layers)))}, because the config of "
            "this model sets scale_attn_by_inverse_layer_idx, which scales the attention of a layer by its number, "
            f"found {_listed(layers)}: name the first layers, or another student.backbone"
        )
    if config.to_dict().get("per_layer_config"):
        raise InputError(
            "student.layers: expected a config without values for single layers, because the kept layers get new "
            f"numbers, found per_layer_config in the config of the model type {config.model_type}: set "
            "student.layers=None and name a smaller student.backbone"
        )
    name = _name_of_stack(model, count)
    config.num_hidden_layers = len(layers)
    for key, values in list(vars(config).items()):
        is_list = isinstance(values, list | tuple) and len(values) == count and key not in _OF_ALL_LAYERS
        if is_list and list(values) != list(range(count)):  # a list of all numbers, such as moe_layers, names layers
            setattr(config, key, type(values)(values[layer] for layer in layers))
    if hasattr(config, "attention_types"):  # GPT-Neo's config has the kinds of attention in a second, grouped form
        config.attention_types = [[[kind], 1] for kind in config.attention_layers]
    kept = _renumbered(model.state_dict(), name, layers)
    try:
        with torch.random.fork_rng():  # random weights that are replaced below must not change later random weights
            made: PreTrainedModel = type(model)(config)
    except Exception as error:  # code of transformers, or the model's own
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        problem = f"cannot be made ({type(error).__name__}: {reason})"
        raise _not_picked(config.model_type, layers, problem) from error
    if getattr(model, "pooler", model) is None:  # made without one, by an argument that the config does not have
        made.pooler = cast(Any, None)
    _require_same_weights(kept, made.state_dict(), config.model_type, layers, name)
    made.load_state_dict(kept)
    nn.Module.to(made, device=model.device, dtype=model.dtype)
    made.train(model.training)
    _require_same_values(model, made, name, layers)
    return made


def _name_of_stack(model: PreTrainedModel, count: int) -> str:
    stacks: list[str] = [
        name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == count
    ]
    if len(stacks) != 1:
        found = f"{len(stacks)} such stacks" if stacks else "no such stack"
        raise InputError(
            f"student.layers: expected a model with one stack of {count} layers, found {found} in model type "
            f"{model.config.model_type}: set student.layers=None and name a smaller student.backbone"
        )
    return stacks[0]


def _renumbered(weights: dict[str, torch.Tensor], stack: str, layers: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return the weights outside of ``stack`` and the weights of ``layers``, named by their new numbers."""
    numbers = {str(layer): number for number, layer in enumerate(layers)}
    kept = {}
    for name, weight in weights.items():
        if not name.startswith(f"{stack}."):
            kept[name] = weight
            continue
        layer, _, rest = name.removeprefix(f"{stack}.").partition(".")
        if layer in numbers:
            kept[f"{stack}.{numbers[layer]}.{rest}"] = weight
    return kept


def _require_same_weights(
    kept: dict[str, torch.Tensor], made: dict[str, torch.Tensor], model_type: str, layers: Sequence[int], stack: str
) -> None:
    """Check that the picked weights have the names and shapes of a model of the changed config."""
    shapes = [{name: weight.shape for name, weight in weights.items()} for weights in (kept, made)]
    different = sorted({name for name, _ in set(shapes[0].items()) ^ set(shapes[1].items())})
    if not different:
        return
    if layers[0] != 0 and all(name.startswith(f"{stack}.0.") for name in different):
        raise InputError(
            f"student.layers: expected layer 0 among the layers, because layer 0 of model type {model_type} has other "
            f"weights than the other layers ({different[0]}), found {_listed(layers)}: keep layer 0"
        )
    problem = f"needs weights of other names or shapes than the backbone has, such as {different[0]}"
    raise _not_picked(model_type, layers, problem)


def _require_same_values(model: PreTrainedModel, made: PreTrainedModel, stack: str, layers: Sequence[int]) -> None:
    """Check that each kept layer computes with the values, such as a scale, that it has in ``model``.

    Some models compute them from the number of a layer or from the number of all layers.
    """
    for number, layer in enumerate(layers):
        before = _values(model.get_submodule(f"{stack}.{layer}"))
        after = _values(made.get_submodule(f"{stack}.{number}"))
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name), after.get(name)
            is_number = type(old) is int and type(new) is int and old - layer == new - number  # place in a cache
            if old != new and not is_number:
                problem = f"computes in layer {number} with {name}={new} in place of {old}"
                raise _not_picked(model.config.model_type, layers, problem)


def _values(layer: nn.Module) -> dict[str, Any]:
    """Return the plain values of the modules in ``layer``, without those that change when the model reads a text."""
    return {
        f"{name}.{key}".removeprefix("."): value
        for name, part in layer.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, int | float | str) and not key.startswith("_") and "cache" not in key
    }


def _not_picked(model_type: str, layers: Sequence[int], problem: str) -> InputError:
    return InputError(
        f"student.layers: expected a model type whose layers can be picked, found {model_type}, where a "
        f"model of the layers {_listed(layers)} {problem}: set student.layers=None and name a smaller student.backbone"
    )


def _listed(layers: Sequence[int]) -> str:
    """Return ``layers`` as in ``--set student.layers=0,4,5``."""
    return ",".join(map(str, layers)) or "an empty list"
