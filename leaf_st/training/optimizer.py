"""Checks of the optimizer and of torch.compile, by trying them before any work."""

from collections.abc import Iterator, Mapping
from copy import copy
from functools import cache
from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainingArguments
from transformers import Trainer

from leaf_st.errors import InputError
from leaf_st.recipe.type_names import value_name

# Settings that transformers documents for some optimizers; others have no effect on the rest.
_OF_OPTIMIZERS = ("adam_beta1", "adam_beta2", "adam_epsilon", "optim_target_modules")
_SELECT_LAYERS = ("galore", "apollo")
_NEED_THE_MODEL = (*_SELECT_LAYERS, "lomo")


def check_optimizer(arguments: SentenceTransformerTrainingArguments, given: Mapping[str, Any], default: str) -> None:
    """Create the optimizer for one parameter, because its packages are imported only on creation.

    Args:
        arguments: The training arguments.
        given: The arguments that the recipe sets.
        default: The optimizer that an error recommends.

    Raises:
        InputError: If the optimizer cannot be created, lacks the names of layers, or does not read a setting in
            ``given``.
    """
    name = str(getattr(arguments.optim, "value", arguments.optim))
    if name.startswith(_SELECT_LAYERS) and not arguments.optim_target_modules:
        raise InputError(
            f"optim_target_modules: expected the layers whose gradients the optimizer {name} projects, found none: "
            "set optim_target_modules=all-linear, or another optim"
        )
    try:
        optimizer, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
        optimizer([torch.nn.Parameter(torch.zeros(1, device=arguments.device))], **options)
    except Exception as error:  # optimizers of many packages fail in different ways
        needs_model = any(part in name for part in _NEED_THE_MODEL)
        if needs_model and not isinstance(error, ImportError):
            return
        settings = [key for key in given if key == "optim_args" or key.startswith("adam_")]
        if settings and not isinstance(error, ImportError) and not isinstance(error.__context__, ImportError):
            form = ", and write optim_args as name=value,name=value" if "optim_args" in settings else ""
            raise InputError(
                f"{', '.join(settings)}: expected settings that the optimizer {name} accepts, but creating it failed "
                f"with: {error}; change or remove the setting{form}"
            ) from error
        raise InputError(
            f"optim: expected an optimizer that works here, found {name!r}, which failed with: {error}; "
            f"set optim={default}, or install its package"
        ) from error
    for key, shown in _unread_settings(arguments, given):
        raise InputError(
            f"{key}: expected a setting that the optimizer {name} reads, found {shown}, which has no effect: remove "
            "the setting, or set another optim"
        )


def _unread_settings(
    arguments: SentenceTransformerTrainingArguments, given: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield name and value of each setting in ``given`` that transformers does not pass to the optimizer.

    transformers reads the settings in the function that returns the class and options of the optimizer. A setting that
    the function reads changes the options, or fails there, if its value is one that no optimizer has.
    """
    for key in _OF_OPTIMIZERS:
        if key in given and not _reads(arguments, **{key: object()}):
            yield key, value_name(given[key])
    for pair in filter(None, (arguments.optim_args or "").replace(" ", "").split(",")):
        if not _reads(arguments, optim_args=f"{pair.partition('=')[0]}=no_such_value"):
            yield "optim_args", pair


def _reads(arguments: SentenceTransformerTrainingArguments, **changed: object) -> bool:
    """Return whether the options of the optimizer depend on the values ``changed``."""
    options = []
    for values in ({name: getattr(arguments, name) for name in changed if name != "optim_args"}, changed):
        copied = copy(arguments)
        for name, value in {"optim_args": None, **values}.items():
            setattr(copied, name, value)
        try:
            options.append(Trainer.get_optimizer_cls_and_kwargs(copied))
        except Exception:  # of the many ways to read a value
            return True
    return options[0] != options[1]


@cache
def check_compile(device: str, backend: str | None, mode: str | None) -> None:
    """Compile an activation, since the C++ compiler that torch.compile calls may be missing.

    Raises:
        InputError: If the activation cannot be compiled.
    """
    try:
        # A Linear alone calls a library and would need no compiler.
        torch.compile(torch.nn.GELU(), backend=backend or "inductor", mode=mode)(torch.ones(2, 2, device=device))
    except Exception as error:  # backends fail in different ways
        reason = str(error).partition("\n")[0]
        wrong = {"InvalidBackend": ("torch_compile_backend", backend)}.get(type(error).__name__)
        if mode is not None and reason.startswith("Unrecognized mode"):
            wrong = "torch_compile_mode", mode
        if wrong is not None:
            name, value = wrong
            raise InputError(
                f"{name}: expected one that torch has, found {value!r} ({reason}): correct or remove the argument"
            ) from error
        raise InputError(
            f"torch_compile: does not work on this machine ({type(error).__name__}: {reason}): set torch_compile=false"
        ) from error
