"""Training arguments: the defaults of leaf_st, the arguments that a recipe cannot set, and checks before any work."""

import os
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import fields
from difflib import get_close_matches
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers.integrations import integration_utils

from leaf_st.errors import InputError
from leaf_st.models.precision import bfloat16_is_fast
from leaf_st.recipe import Recipe
from leaf_st.recipe.type_names import type_name, value_name
from leaf_st.recipe.values import fits
from leaf_st.run_folder import has_begun_training
from leaf_st.training.optimizer import check_compile, check_optimizer
from leaf_st.training.trainer import DOMAIN, GENERAL

DEFAULTS: dict[str, Any] = {
    "seed": 42,
    "learning_rate": 1e-4,  # paper 2.2
    "weight_decay": 0.01,  # paper 2.2
    "per_device_train_batch_size": 32,  # paper 2.2
    "per_device_eval_batch_size": 32,
    "optim": "adamw_torch_fused",
    "eval_strategy": "steps",
    "eval_steps": 0.1,
    "save_strategy": "steps",
    "save_steps": 0.1,
    "save_total_limit": 2,  # the best and the last
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "logging_steps": 50,
    "report_to": "none",
    "disable_tqdm": False,  # transformers would derive it from the log level
}

_DEFAULTS_WITH_GENERAL: dict[str, Any] = {"metric_for_best_model": f"eval_{DOMAIN}_loss", "eval_on_start": True}

# transformers replaces None in these: by the name of a service, and by a metric that two validation sets lack.
_NONE_IS_DEFAULT = ("report_to", "metric_for_best_model", "greater_is_better")

_PUSH = "training never uploads; run `leaf-st push` after training"
_SIMILAR_LENGTH = "batches always contain texts of similar length; remove the argument"
_DECAY = "set training.decay and training.cycles instead"
_RESUME = "the same command resumes from the last checkpoint; remove the argument"
_NO_SUPPORT = "SentenceTransformer models do not support it; remove the argument"
_NO_EFFECT = "it has no effect on a distillation; remove the argument"

# transformers ends a training that gets SIGTERM as if it were finished.
_STOPPED = "a run saves a checkpoint every two minutes, from which the same command resumes; remove the argument"
_UNDISTURBED = "a killed run would resume to other weights than an undisturbed run; remove the argument"

# Arguments that would cause harm or have no effect, and the remedy for each. A star matches any ending.
REFUSED = {
    "push_to_hub*": _PUSH,
    "hub_*": _PUSH,
    "trackio_*": _PUSH,  # public Spaces; a dashboard on this machine needs none of these
    "output_dir": "use --output instead",
    "prompts": "set teacher.prompts instead",
    "batch_sampler": _SIMILAR_LENGTH,
    "multi_dataset_batch_sampler": _SIMILAR_LENGTH,
    "train_sampling_strategy": _SIMILAR_LENGTH,
    "length_column_name": _SIMILAR_LENGTH,
    "lr_scheduler_type": _DECAY,
    "lr_scheduler_kwargs": _DECAY,
    "warmup_steps": _DECAY,
    "warmup_ratio": _DECAY,
    "resume_from_checkpoint": _RESUME,
    "enable_jit_checkpoint": _STOPPED,
    "save_only_model": _UNDISTURBED,
    "ignore_data_skip": _UNDISTURBED,
    "dataloader_in_order": _NO_EFFECT,
    "data_seed": "set seed instead",
    "auto_find_batch_size": "lower per_device_train_batch_size and raise gradient_accumulation_steps instead",
    "do_train": "run `leaf-st train` instead",
    "do_eval": "run `leaf-st evaluate` instead",
    "do_predict": "run `leaf-st evaluate` instead",
    "neftune_noise_alpha": _NO_SUPPORT,
    "use_liger_kernel": _NO_SUPPORT,
    "liger_kernel_config": _NO_SUPPORT,
    "label_smoothing_factor": _NO_EFFECT,
    "include_num_input_tokens_seen": _NO_EFFECT,  # transformers counts none of sentence-transformers' inputs
    "router_mapping": _NO_EFFECT,
    # transformers converts the weights only for a validation outside of a training: a run has none.
    "fp16_full_eval": _NO_EFFECT,
    "bf16_full_eval": _NO_EFFECT,
}
# Names of training arguments in other tools.
OTHER_NAMES = {
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
}
_SEVERAL = ("arguments", "training", "training_args", "training_arguments")  # names that hold all arguments elsewhere
_OF_ACCELERATE = ("ACCELERATE_DYNAMO_", "ACCELERATE_USE_", "ACCELERATE_GRADIENT_")
_LEAST_INTEGERS = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
    "dataloader_prefetch_factor": 1,
    "eval_accumulation_steps": 1,
    "max_steps": -1,
    "seed": 0,
}
_LARGEST_SEED = 2**32 - 1  # of NumPy
_NOT_NEGATIVE = ("weight_decay", "max_grad_norm")
_POSITIVE = ("learning_rate", "num_train_epochs", "eval_steps", "save_steps", "logging_steps")
_FEW = 8  # values that a message lists

# Integrations whose availability check in transformers has a different name.
_CHECKED_AS = {"azure_ml": "azureml", "comet_ml": "comet", "flyte": "flytekit"}


@cache
def argument_types() -> Mapping[str, Any]:
    """Return the declared type of each keyword of SentenceTransformerTrainingArguments."""
    hints = get_type_hints(SentenceTransformerTrainingArguments)
    return {
        item.name: _declared(hints[item.name]) for item in fields(SentenceTransformerTrainingArguments) if item.init
    }


def _declared(hint: Any) -> Any:  # noqa: ANN401  (any annotation)
    """Return ``hint``, but without the arbitrary text that transformers admits besides the values of an enum."""
    kinds = get_args(hint)
    enums = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum)]
    if len(enums) == 1 and set(kinds) == {*enums, str}:
        return Union[Literal[tuple(member.value for member in enums[0])], enums[0]]  # noqa: UP007
    return hint


class _OneGpu(SentenceTransformerTrainingArguments):
    """Training arguments by which a process uses one GPU, as each process of a launcher does.

    Without a launcher, transformers would train on all visible GPUs with DataParallel. The number of texts in a step
    would then depend on the machine, and the flat inputs of a static student cannot be divided.
    """

    @property
    def n_gpu(self) -> int:
        """The number of GPUs of this process: 1, or 0 on a CPU."""
        found: int = super().n_gpu
        return min(found, 1)


def training_arguments(recipe: Recipe, run: Path | None, device: str) -> SentenceTransformerTrainingArguments:
    """Return the arguments for the trainer: the paper's values, overridden by the recipe's own.

    Args:
        recipe: The recipe.
        run: The run folder; None for callers that only read values, because the arguments of the run are checked
            elsewhere.
        device: Type of the device.

    Raises:
        InputError: If an argument is unknown, refused or invalid, or needs a package or device that is missing.
    """
    check_arguments(recipe)
    arguments = named_arguments(recipe, device)
    # Some callers pass "cpu" only to read a value, on machines where the training will use a GPU.
    trains_on_cpu = bool(recipe.training.arguments.get("use_cpu")) or not torch.accelerator.is_available()
    if arguments.get("fp16") and trains_on_cpu:
        raise InputError("fp16: expected a GPU, found the device cpu: set bf16=true, or remove fp16")
    _check_strategies(arguments, recipe.training.arguments)
    _check_steps(arguments, run is None or has_begun_training(run))
    try:
        made = _OneGpu(output_dir=str((run or Path()) / "checkpoints"), **arguments)
    except (TypeError, ValueError, ImportError, OSError, RuntimeError) as error:
        variables = accelerate_variables()
        other = f", or unset {variables}" if variables else ""
        raise InputError(f"training arguments: {error}: change or remove the argument{other}") from error
    # If both arguments are false, transformers takes the precision that `accelerate launch` leaves in the environment.
    made.mixed_precision = "fp16" if made.fp16 else "bf16" if made.bf16 else "no"
    check_optimizer(made, recipe.training.arguments, default=DEFAULTS["optim"])
    if made.torch_compile and (device != "cpu" or trains_on_cpu):
        check_compile(device, made.torch_compile_backend, made.torch_compile_mode)
    return made


def accelerate_variables() -> str:
    """Return the variables by which accelerate changes the training, with their values, such as "NAME=VALUE, ...".

    The launcher of accelerate sets these variables, and they can remain in an environment.
    """
    found = sorted(item for item in os.environ.items() if item[0].startswith(_OF_ACCELERATE))
    return ", ".join(f"{name}={value}" for name, value in found)


def unused_gpus(arguments: SentenceTransformerTrainingArguments) -> str | None:
    """Return a message if a training in one process leaves GPUs of this machine unused; None if not."""
    count = torch.cuda.device_count()
    if arguments.n_gpu != 1 or arguments.world_size > 1 or count < 2:
        return None
    return (
        f"training uses one of {count} GPUs: to use all of them, start the command with "
        f"`torchrun --nproc-per-node {count} -m leaf_st`"
    )


def named_arguments(recipe: Recipe, device: str) -> dict[str, Any]:
    """Return every training argument that differs from transformers' default, as ``recipe.json`` records them."""
    given = {
        name: deepcopy(value)  # transformers changes nested values, which the trial and the record of the run read too
        for name, value in recipe.training.arguments.items()
        if value is not None or name not in _NONE_IS_DEFAULT
    }
    arguments = {
        "bf16": bfloat16_is_fast(torch.device(device)) and not given.get("fp16"),
        # The filter hides losses that are NaN, and lets a GPU wait at each step. A step in fp16 may overflow.
        "logging_nan_inf_filter": bool(given.get("fp16")),
        **DEFAULTS,
        **(_DEFAULTS_WITH_GENERAL if recipe.general else {}),
        **given,
    }
    if torch.distributed.is_initialized():  # the trainer would set it and print a warning
        arguments["dataloader_drop_last"] = True
    return {**arguments, "use_cpu": True} if device == "cpu" else arguments


def check_arguments(recipe: Recipe) -> None:
    """Check names and values of the recipe's training arguments, without a device.

    Raises:
        InputError: If an argument is unknown, refused, has the wrong type, or needs a package that is missing.
    """
    if recipe.training.arguments.get("deepspeed") and find_spec("deepspeed") is None:
        raise InputError("deepspeed: expected the package deepspeed, found none: install it, or remove the argument")
    for name, value in recipe.training.arguments.items():
        _check_name(name)
        _check_value(name, value)
    for name in ("activation_checkpointing", "gradient_checkpointing"):  # as newer and older transformers name it
        if recipe.student.static and recipe.training.arguments.get(name):
            raise InputError(f"{name}: expected a student with layers, found student.static=true: remove the argument")
    for name in ("fsdp", "ddp_backend"):
        is_alone = not torch.distributed.is_initialized() and "RANK" not in os.environ
        if recipe.training.arguments.get(name) and is_alone:
            raise InputError(f"{name}: expected several processes, found one: start torchrun, or remove the argument")
    _check_reports(recipe.training.arguments.get("report_to"))
    _check_rates(recipe.training.arguments.get("learning_rate_mapping"))
    _check_end(recipe)
    _check_metric(recipe)


def _check_value(name: str, value: object) -> None:
    hint = argument_types()[name]
    if name == "max_steps" and value == 0:
        raise InputError("max_steps: expected a whole number of at least 1, or -1 for all epochs, found 0: change it")
    if name == "seed" and isinstance(value, int) and value > _LARGEST_SEED:
        raise InputError(f"{name}: expected a whole number of at most {_LARGEST_SEED:,}, found {value:,}: change it")
    if value is None and fits(None, hint):
        return
    if name in _LEAST_INTEGERS:
        _check_least(name, value, _LEAST_INTEGERS[name])
    elif name in _POSITIVE:
        _check_positive(name, value)
    elif name in _NOT_NEGATIVE and fits(value, float) and not value >= 0:  # type: ignore[operator]
        raise InputError(f"{name}: expected a number of at least 0, found {value_name(value)}: change the value")
    elif not fits(value, hint):
        raise InputError(f"{name}: expected {_expected(hint, value)}, found {value_name(value)}: change the value")
    elif isinstance(value, str) and _takes_json(hint) and not Path(value).is_file():
        expected = "mapping, or the path of a JSON file"
        raise InputError(f"{name}: expected {expected}, found {value_name(value)}: change the value")


def _expected(hint: Any, value: object) -> str:  # noqa: ANN401  (any annotation)
    """Return the type ``hint`` in words; of many possible values, the ones most similar to ``value``, if any are."""
    values = [str(item) for literal in get_args(hint) if get_origin(literal) is Literal for item in get_args(literal)]
    if len(values) <= _FEW:
        return type_name(hint)
    near = [item for item in values if value and str(value) in item][:_FEW] or get_close_matches(str(value), values)
    known = near or [*values[:_FEW], "..."]
    return f"a known value such as {', '.join(known)}"


def _takes_json(hint: Any) -> bool:  # noqa: ANN401  (any annotation)
    """Return whether an argument of type ``hint`` is a mapping, or text that transformers reads as JSON."""
    return str in get_args(hint) and any(dict in (kind, get_origin(kind)) for kind in get_args(hint))


def settable_names() -> list[str]:
    """Return the names of the training arguments that a recipe can set."""
    return [name for name in argument_types() if not any(fnmatchcase(name, refused) for refused in REFUSED)]


def _check_name(name: str) -> None:
    for refused, remedy in REFUSED.items():
        if fnmatchcase(name, refused):
            raise InputError(f"{name}: a recipe cannot set this argument: {remedy}")
    if name in signature(SentenceTransformerTrainer.__init__).parameters:
        raise InputError(
            f"{name}: expected a training argument, found an argument of the trainer: use it in a script with your own "
            "SentenceTransformerTrainer and leaf_st's TeacherAlignedLoss"
        )
    if name not in argument_types():
        near = [OTHER_NAMES[name]] if name in OTHER_NAMES else get_close_matches(name, settable_names(), n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ": remove it"
        if name in _SEVERAL:
            hint = ": give each argument by itself, such as max_steps=4"
        raise InputError(f"{name}: expected a keyword of SentenceTransformerTrainingArguments{hint}")


def _check_least(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(
            f"{name}: expected a whole number of at least {least}, found {value_name(value)}: change the value"
        )


def _check_positive(name: str, value: object) -> None:
    if not fits(value, float) or not value > 0:  # type: ignore[operator]
        raise InputError(f"{name}: expected a number above 0, found {value_name(value)}: change the value")


def _check_reports(report_to: str | Iterable[str] | None) -> None:
    """Check that the packages of the integrations that the training reports to are installed."""
    known = integration_utils.INTEGRATION_TO_CALLBACK
    reports = [report_to] if isinstance(report_to, str) else list(report_to or [])
    for name in reports:
        if name in ("none", "all"):  # "all" means all that are installed
            continue
        if name not in known:
            names = ", ".join(sorted(known))
            raise InputError(f"report_to: expected none, all, or some of {names}, found {name!r}: change the value")
        if not getattr(integration_utils, f"is_{_CHECKED_AS.get(name, name)}_available")():
            raise InputError(
                f"report_to: expected an installed integration, found {name!r}, whose package is missing: "
                "install the package, or set report_to=none"
            )
    if len(reports) > 1 and (alone := {"none", "all"} & {*reports}):
        raise InputError(f"report_to: expected {min(alone)} alone, found {', '.join(reports)}: remove the other values")


def _check_rates(mapping: object) -> None:
    """Check the learning rates by pattern; the trainer takes a negative one, which increases the loss."""
    for pattern, rate in mapping.items() if isinstance(mapping, Mapping) else ():
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"learning_rate_mapping: expected regular expressions, such as word_embeddings or layer.*bias, found "
                f"{pattern!r} ({error}): correct the pattern"
            ) from error
        if not fits(rate, float) or not rate >= 0:
            raise InputError(
                f"learning_rate_mapping: expected a number of at least 0 for {pattern!r}, found {value_name(rate)}: "
                "change the value"
            )


def _check_end(recipe: Recipe) -> None:
    """Check that the learning rate does not rise: the default end is above the rate of a careful further training."""
    rate = recipe.training.arguments.get("learning_rate", DEFAULTS["learning_rate"])
    if rate is not None and recipe.training.end_learning_rate > rate:
        raise InputError(
            f"training.end_learning_rate: expected at most learning_rate ({rate:g}), so that the rate falls, "
            f"found {recipe.training.end_learning_rate:g}: set training.end_learning_rate={rate / 10:g}"
        )


def _check_metric(recipe: Recipe) -> None:
    """Check that each validation computes the metric by which the best checkpoint is selected."""
    name = recipe.training.arguments.get("metric_for_best_model")
    known = [f"{DOMAIN}_loss", f"{GENERAL}_loss"] if recipe.general else ["loss"]
    if name is not None and name.removeprefix("eval_") not in known:
        raise InputError(f"metric_for_best_model: expected {' or '.join(known)}, found {name!r}: change the value")
    if recipe.training.arguments.get("greater_is_better"):
        raise InputError("greater_is_better: expected false, because the metric is a loss, found true: remove it")


def _check_strategies(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Check that checkpoints are saved when they are validated, so that the best checkpoint is known."""
    validated, saved = ("eval_strategy", "save_strategy")
    if not arguments["load_best_model_at_end"] or arguments[saved] in (arguments[validated], "best"):
        return
    name, other = (validated, saved) if validated in given else (saved, validated)
    expected, found = (getattr(arguments[key], "value", arguments[key]) for key in (other, name))
    raise InputError(
        f"{name}: expected {expected}, the {other}, because the best checkpoint is kept, found {found}: set both to "
        "the same value, or set load_best_model_at_end=false"
    )


def _check_steps(arguments: Mapping[str, Any], has_begun: bool) -> None:
    """Check that a checkpoint is saved at each validated step, so that the step with the lowest loss can be loaded.

    A training that began with an earlier version may save at a multiple of these steps.
    """
    if not arguments["load_best_model_at_end"] or arguments["eval_strategy"] != "steps":
        return
    between, saved = float(arguments["eval_steps"] or arguments["logging_steps"]), float(arguments["save_steps"])
    if has_begun and round(saved / between, 6).is_integer():  # 0.3 / 0.1 is 2.9999999999999996
        return
    if arguments["save_strategy"] == "steps" and saved != between:
        raise InputError(
            f"save_steps: expected eval_steps ({between:g}), so that the best step has a checkpoint, found {saved:g}: "
            "set save_steps and eval_steps to the same value, or set load_best_model_at_end=false"
        )
