"""The one loader of models: teachers, students, starts, backbones and searched models.

The loader encodes a short and a long text, so that a model that cannot encode fails here, with an error of one line.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router, Transformer, WordEmbeddings
from sentence_transformers.util import get_device_name
from torch import nn

from leaf_st.errors import InputError, ModelError
from leaf_st.models.damage import damaged_file
from leaf_st.models.end_token import add_end_token, missing_end_tokens
from leaf_st.models.find import find_model
from leaf_st.models.intact import require_intact
from leaf_st.models.kind import require_dense, warn_of_pooling
from leaf_st.models.missing import OtherShapesError, load_report
from leaf_st.models.other_code import other_code
from leaf_st.models.padding import require_masked_padding
from leaf_st.models.parts import parts_of
from leaf_st.models.precision import dtype_of
from leaf_st.models.safety import class_of_files, length_setting, own_code, require_safe
from leaf_st.models.settings import require_settings
from leaf_st.models.tokens import (
    is_table,
    max_length_of,
    positions_of,
    positions_of_longrope,
    special_tokens_of,
    stated_positions,
)
from leaf_st.recipe import Precision
from leaf_st.zoo import ZOO

_logger = logging.getLogger(__name__)
warn_once = cache(_logger.warning)  # a run loads a model several times

# Tokens of the long probe for a model without a table of positions: a longer probe finds no other error and takes
# seconds.
_PROBE = 512
# A character of cuneiform, which the vocabularies of most models lack: some tokenizers fail at an unknown word.
_UNKNOWN = "\U00012000"
_CHECK_FILES = "check the model's files"
_BACKBONES = ("student backbone", "student.start")
# The recipe's name for the length of each role; other roles have no such value.
_LENGTH_OF = {
    "teacher": "teacher.max_length",
    "student backbone": "student.max_length",
    "student.start": "student.max_length",
}


def load_model(
    name: str | Path,
    *,
    role: str = "model",
    revision: str | None = None,
    precision: Precision = "float32",
    max_length: int | None = None,
    prompts: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
    device: str | None = None,
) -> SentenceTransformer:
    """Load the model ``name`` from safetensors, and encode a text with it.

    Args:
        name: Folder of a model or a run, name of the zoo, or hub id.
        role: What errors call the model: "teacher", "student backbone", "student.start" or "model".
        revision: Commit, branch or tag on the hub.
        precision: Precision of the weights; "auto" is bfloat16 where the device computes in it.
        max_length: Tokens read of a text; the model's own if None.
        prompts: Prompts by name, which replace the model's own of these names.
        trust_remote_code: Run the model's own code.
        device: Device of the model; sentence-transformers' choice if None.

    Raises:
        InputError: If the model does not exist, is damaged, cannot be loaded, cannot encode, or reads fewer tokens; or
            if torch cannot use ``device``.
    """
    name = str(name)
    try:
        folder = find_model(name, revision, code=trust_remote_code)
        require_safe(folder, name)
        require_settings(folder, name)
    except ModelError as error:
        raise InputError(f"{role} {name} cannot be loaded: {error.problem}") from error
    require_intact(folder)
    if role not in _BACKBONES:
        require_dense(folder, role, name)
    if not trust_remote_code and (code := own_code(folder)) is not None:
        remedy = _code_remedy(role)
        raise InputError(f"{role} {name} cannot be loaded from {folder}: {code}; {remedy}, or name another {role}")
    device = device or get_device_name()
    _require_device(device)
    dtype = dtype_of(precision, torch.device(device))
    failures = _failures_named(f"{role} {name} cannot be loaded from {folder}", role, folder)
    with failures, load_report() as report:
        model = SentenceTransformer(
            str(folder),
            device=device,
            prompts=dict(prompts or {}),
            model_kwargs={"dtype": dtype, "use_safetensors": True},
            trust_remote_code=trust_remote_code,
            # The hub may have a newer commit of the code, and a resumed run needs the same code.
            local_files_only=trust_remote_code and other_code(folder) is not None,
        )
        for module in modules_of(model):
            if not isinstance(module, Transformer):  # a Transformer has the dtype, except weights that need float32
                module.to(dtype)
    model.eval()  # sentence-transformers' own modules, such as Dropout, are in training mode
    if role not in _BACKBONES:
        warn_of_pooling(model, folder, role, name)
    if report.missing:
        remedy = "download or save the model again"
        if not trust_remote_code and (code := class_of_files(folder)) is not None:
            remedy = f"the model was made with custom code ({code}); {_code_remedy(role)}"
        raise InputError(
            f"{role} {name} cannot be loaded from {folder}: expected all weights, {report.problem(remedy)}, or name "
            f"another {role}"
        )
    encoders = [module.model for module in modules_of(model) if isinstance(module, Transformer)]
    names = {weight for encoder in encoders for weight, _ in encoder.named_parameters()}
    if unread := report.unread_in_layers(names):
        warn_once(
            f"{role} {name}: the installed transformers does not read some weights in its files, such as {unread[0]}: "
            "the vectors may differ from those that the model was trained to give; if so, install the version of "
            "transformers that its config.json names"
        )
    if unused := report.unused_layers(names):
        warn_once(
            f"{role} {name} is used without {unused} of the layers in its files: the number of layers in its "
            "config.json is lower; if this is not what you want, correct config.json"
        )
    # Results use this name. A static model does not know its folder, and other models know only the hub's cache.
    model.model_card_data.set_model_id(ZOO[name].hub_id if name in ZOO and not Path(name).is_dir() else name)
    _require_reader_first(model, role, name)
    _refuse_tokens_without_row(model, role, name)
    _add_pad_token(model, role, name)
    _add_end_tokens(model, folder, role, name)
    with _failures_named(f"{role} {name} cannot encode a text", role):
        _accept_texts_without_tokens(model)
    set_max_length(model, max_length, role, name)
    if max_length is None:
        _require_own_length(model, folder, role, name)
    with _failures_named(f"{role} {name} cannot encode a text", role):
        require_masked_padding(model, role, name)
    require_encoding(model, role, name)
    return model


def _require_reader_first(model: SentenceTransformer, role: str, name: str) -> None:
    """Refuse a model whose first module reads no texts; the error of sentence-transformers names only its own code."""
    if not any(hasattr(model[0], method) for method in ("preprocess", "tokenize")):
        kinds = ", ".join(type(module).__name__ for module in model)
        raise InputError(
            f"{role} {name} cannot encode a text: expected a first module that reads texts, such as Transformer, found "
            f"the order {kinds}: correct the order in modules.json, or name another {role}"
        )


def _require_device(device: str) -> None:
    """Refuse a device that torch cannot use, which loading would report as damage of the model's files."""
    try:
        torch.empty(0, device=device)
    # A build without CUDA raises AssertionError; an unknown or busy device RuntimeError.
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device: expected a device that torch can use here, found {device!r} ({_reason(error)}): name another "
            "device, such as 'cpu'"
        ) from error


def modules_of(model: SentenceTransformer) -> Iterator[nn.Module]:
    """Yield the modules of ``model``; a Router is replaced by the modules of its routes."""
    for module in model:
        if isinstance(module, Router):
            for route in module.sub_modules.values():
                yield from cast(nn.Sequential, route)
        else:
            yield module


def set_max_length(model: SentenceTransformer, max_length: int | None, role: str, name: str) -> None:
    """Let ``model`` read ``max_length`` tokens of a text; None keeps the model's own, at most its positions.

    Args:
        model: The model.
        max_length: Tokens.
        role: What errors call the model, as in `load_model`.
        name: The model's name.

    Raises:
        InputError: If the model has fewer positions, adds more special tokens to a text, or always reads complete
            texts.
    """
    transformers = [module for module in modules_of(model) if isinstance(module, Transformer)]
    key = _LENGTH_OF.get(role, "max_length")
    if max_length is not None and not transformers:
        _set_length_without_transformer(model, max_length, key, name)
    for transformer in transformers:
        _take_lengths_from_settings(transformer, max_length)
        positions, own = positions_of(transformer), max_length_of(transformer)
        if max_length is not None and positions is not None and max_length > positions:
            raise InputError(
                f"{key}: {name} reads at most {positions} tokens, found {max_length}: set {positions} or less"
            )
        if max_length is not None:
            # `require_room` refuses a length of exactly the special tokens, and its error also names the prompt.
            if max_length < (special := special_tokens_of(transformer)):
                raise InputError(
                    f"{key}: expected more tokens than the {special} special ones of each text of {name}, found "
                    f"{max_length}: raise {key}"
                )
            transformer.max_seq_length = max_length
        elif positions is not None and own is None and _has_table_of_positions(model):
            transformer.max_seq_length = positions
        elif positions is not None and own is not None and own > positions:
            is_longrope = positions_of_longrope(transformer) is not None
            if is_longrope or own > (stated_positions(transformer) or 0):
                warn_once(
                    f"{role} {name} reads {positions:,} tokens of a text, the positions of transformers' class "
                    f"{type(transformer.model).__name__}: its files state {own:,}"
                )
            transformer.max_seq_length = positions


def _take_lengths_from_settings(transformer: Transformer, max_length: int | None) -> None:
    """Let ``transformer`` read at most ``max_length`` tokens, also where its settings have other lengths.

    A length in ``processing_kwargs`` would be applied after ``max_seq_length``, and so would the length for a kind.
    """
    settings: Any = transformer.processing_kwargs
    groups = (settings.get(group) or {} for group in ("text", "common"))
    lengths = [group.pop("max_length") for group in groups if group.get("max_length") is not None]
    if lengths:
        transformer.max_seq_length = lengths[0]
    for name in ("query_length", "document_length"):
        own = getattr(transformer, name, None)
        if max_length is not None and own is not None:
            setattr(transformer, name, min(own, max_length))


def _set_length_without_transformer(model: SentenceTransformer, max_length: int, key: str, name: str) -> None:
    """Set the length of a model whose first module is its own code, and refuse a length for any other model."""
    own, kind = max_length_of(model), type(model[0])
    if kind.__module__.startswith("sentence_transformers."):
        raise InputError(
            f"{key}: {name} is a static model, which reads complete texts, found {max_length}: leave {key} out"
        )
    if own is None:
        raise InputError(
            f"{key}: {name} reads texts with its own code ({kind.__name__}), which states no length, found "
            f"{max_length}: leave {key} out"
        )
    if max_length > own:
        raise InputError(f"{key}: {name} reads at most {own} tokens, found {max_length}: set {own} or less")
    model.max_seq_length = max_length


def _require_own_length(model: SentenceTransformer, folder: Path, role: str, name: str) -> None:
    """Refuse a model whose files set a length at which it reads nothing of a text but its special tokens."""
    for transformer in (module for module in modules_of(model) if isinstance(module, Transformer)):
        own, special = max_length_of(transformer), special_tokens_of(transformer)
        if own is None or own > special:
            continue
        settings = (length_setting(part) for part, _ in parts_of(folder))
        place = next((str(found) for found in settings if found and found.value == own), f"the length of {folder}")
        raise InputError(
            f"{role} {name} cannot encode a text: expected {place} to be more than the {special} special tokens of "
            f"each text, found {own}: correct the number"
        )


def require_encoding(model: SentenceTransformer, role: str, name: str) -> None:
    """Encode a short text with an unknown word, and a text as long as ``model`` reads.

    Raises:
        InputError: If the model cannot encode them, or gives vectors that are not finite or have a dimension other than
            its modules state.
    """
    texts = [f"a {_UNKNOWN}", "a " * _probe_length(model)]
    for encode in (model.encode_query, model.encode_document) if _is_router(model) else (model.encode,):
        with _failures_named(f"{role} {name} cannot encode a text", role):
            vectors = encode(texts, prompt="", show_progress_bar=False, convert_to_tensor=True)
        _check_vectors(vectors, model, f"{role} {name}")


def _check_vectors(vectors: torch.Tensor, model: SentenceTransformer, what: str) -> None:
    stated = model.get_embedding_dimension()
    if stated is not None and vectors.shape[1] != stated:
        raise InputError(
            f"{what}: expected vectors of dimension {stated}, which its modules state, found {vectors.shape[1]}: "
            "correct the dimension in the folder of the pooling module, or name another model"
        )
    if not vectors.isfinite().all():
        if isinstance(model[0], WordEmbeddings):
            raise InputError(
                f"{what}: expected a finite vector of each text, found NaN or infinite values for a text of words that "
                "the model may not know: name a model that gives such texts a finite vector, or check the model's files"
            )
        float32 = "set teacher.precision=float32, or " if vectors.dtype != torch.float32 else ""
        raise InputError(f"{what}: expected finite vectors, found NaN or infinite values: {float32}{_CHECK_FILES}")


def _probe_length(model: SentenceTransformer) -> int:
    longest = max_length_of(model)
    if longest is None or longest <= _PROBE or _has_table_of_positions(model):
        return min(longest or _PROBE, 1 << 14)
    return _PROBE


def _has_table_of_positions(model: SentenceTransformer) -> bool:
    """Return whether a token beyond the last position of ``model`` has no row in a table."""
    kinds = {part.model.config.model_type for part in modules_of(model) if isinstance(part, Transformer)}
    if "mpt" in kinds:  # its table (ALiBi) is no weight
        return True
    names = (name for name, part in model.named_modules() if is_table(part))
    return any(name.rpartition(".")[2] in ("position_embeddings", "wpe", "embed_positions") for name in names)


def _is_router(model: SentenceTransformer) -> bool:
    return any(isinstance(module, Router) for module in model)


def _refuse_tokens_without_row(model: SentenceTransformer, role: str, name: str) -> None:
    """Let ``model`` name a token of a text that its table of embeddings lacks; torch would fail with a plain index.

    Such a model can be of use: EmbeddingGemma's tokenizer has a token for images, which texts do not contain.
    """
    for module in modules_of(model):
        if not isinstance(module, Transformer):
            continue
        vocabulary: dict[str, int] = getattr(module.tokenizer, "get_vocab", dict)()
        rows = _rows_of(module.model) if vocabulary else None
        if rows is not None and max(vocabulary.values()) >= rows:
            module.register_forward_pre_hook(partial(_require_rows, f"{role} {name}", rows))


def _require_rows(what: str, rows: int, module: nn.Module, arguments: tuple[dict[str, Any], ...]) -> None:
    ids = arguments[0]["input_ids"]
    if torch.compiler.is_compiling() or not ids.numel() or (highest := int(ids.max())) < rows:
        return
    tokenizer: Any = cast(Transformer, module).tokenizer
    needed = max(tokenizer.get_vocab().values()) + 1
    raise InputError(
        f"{what} cannot encode a text: expected tokens below {rows}, the rows of its embeddings, found the token "
        f"{tokenizer.convert_ids_to_tokens(highest)!r} with the number {highest}: call "
        f"resize_token_embeddings({needed}) of the transformers model and save the model again, or remove the token "
        "from the texts"
    )


def token_rows(model: SentenceTransformer) -> int | None:
    """Return the number of tokens that all encoders of ``model`` have embeddings for; None if none has a table."""
    encoders = (module.model for module in modules_of(model) if isinstance(module, Transformer))
    return min((rows for encoder in encoders if (rows := _rows_of(encoder)) is not None), default=None)


def _rows_of(model: nn.Module) -> int | None:
    """Return the number of tokens that ``model`` has embeddings for; None if it has no table of embeddings."""
    try:
        table = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):  # models of other inputs, or with tables of their own kind
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


def _add_pad_token(model: SentenceTransformer, role: str, name: str) -> None:
    """Let the tokenizers of ``model`` pad with the end token if they have no pad token, as GPT-2's.

    Padding is masked, so any token can pad.

    Raises:
        InputError: If a tokenizer has no end token either.
    """
    for module in modules_of(model):
        tokenizer = getattr(module, "tokenizer", None) if isinstance(module, Transformer) else None
        if tokenizer is None or tokenizer.pad_token is not None:
            continue
        if tokenizer.eos_token is None:
            raise InputError(
                f"{role} {name} cannot encode texts of different lengths: its tokenizer has no pad token and no end "
                "token, set pad_token in its tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token


def _add_end_tokens(model: SentenceTransformer, folder: Path, role: str, name: str) -> None:
    """Let the tokenizers of ``model`` add the end tokens that their settings ask for and transformers leaves out."""
    transformers = (module for module in modules_of(model) if isinstance(module, Transformer))
    for transformer, token in zip(transformers, missing_end_tokens(folder), strict=False):
        tokenizer = cast(Any, transformer.tokenizer)
        if token is not None and tokenizer("a")["input_ids"][-1] != tokenizer.eos_token_id:
            add_end_token(transformer)
            warn_once(
                f"{role} {name} ends each text with {token}, as add_eos_token in its tokenizer_config.json asks: "
                "transformers ignores this setting since version 5"
            )


def _accept_texts_without_tokens(model: SentenceTransformer) -> None:
    """Let ``model`` encode batches of empty texts, even if a tokenizer adds no tokens to a text, as GPT-2's."""
    for module in modules_of(model):
        if isinstance(module, Transformer) and not module.preprocess([""])["input_ids"].numel():
            module.register_forward_pre_hook(_add_masked_token)


def _add_masked_token(_module: nn.Module, arguments: tuple[dict[str, Any], ...]) -> None:
    """Add padding to a batch without a token, which transformers cannot encode; the padding is masked."""
    features = arguments[0]
    if not features["input_ids"].numel():
        features |= {
            name: value.new_zeros(len(value), 1) for name, value in features.items() if isinstance(value, torch.Tensor)
        }


@contextmanager
def _failures_named(what: str, role: str, folder: Path | None = None) -> Iterator[None]:
    """Turn an exception into an `InputError` that begins with ``what``, and names a damaged file in ``folder``."""
    try:
        yield
    except InputError:
        raise
    # Loading runs code of transformers, of tokenizers (which raise plain exceptions) and of the model itself.
    except Exception as error:
        # Libraries name neither the file that they parse nor the type that they expect.
        reason = (folder and damaged_file(folder, error)) or _reason(error)
        raise InputError(f"{what}: {reason}; {_remedy(error, role)}, or name another {role}") from error


def _remedy(error: Exception, role: str) -> str:
    if isinstance(error, ImportError):
        return "install the package or the version that the model needs"
    if role == "teacher" and "bfloat16" in str(error).lower():  # some models compute a part in float32
        return "set teacher.precision=float32"
    return _code_remedy(role) if "trust_remote_code" in str(error) else _CHECK_FILES


def _code_remedy(role: str) -> str:
    if role != "teacher":
        return _CHECK_FILES
    return (
        "if you trust this code, set teacher.trust_remote_code=true in the recipe of a run (evaluate, search, site and "
        "push --asymmetric never run a teacher's code)"
    )


def _reason(error: Exception) -> str:
    """Return the type and the first line of ``error``, with the second line where the first one ends in a colon."""
    if "trust_remote_code" in str(error):
        return "expected a model type of transformers, found custom code"
    if isinstance(error, OtherShapesError):
        return str(error)
    if isinstance(error, KeyError) and error.args == ("sentence_embedding",):
        return "expected a module that makes one vector of a text's tokens, such as Pooling, found none in modules.json"
    if isinstance(error, KeyError) and error.args == ("token_embeddings",):
        return "expected a model that makes a vector of each token, found none, as in models of images and texts"
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {first.rstrip('.')}"
