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
from typing import Any

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from leaf_st.atomic import replace_folder, write_json

# More than these, which new versions write, would be refused by the constructor of an old version's Dense.
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function")
_ALMOST_FULL = 1 << 28  # bytes; a checkpoint is about as large
_POOLING_KEYS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")


def save_portable(student: SentenceTransformer, folder: Path, record: Any = None) -> None:  # noqa: ANN401
    """Save ``student`` to ``folder``, whole or not at all, in the legacy layout.

    Args:
        student: Transformer, mean Pooling, Projection, and Normalize or not.
        folder: A model saved here before is replaced.
        record: JSON value that says where the model comes from, for its ``recipe.json``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_named(folder.parent):
        replace_folder(folder, lambda fresh: _save(student, fresh, record))


def _save(student: SentenceTransformer, folder: Path, record: Any) -> None:  # noqa: ANN401  (any JSON value)
    forget_last_call(student)
    student.save_pretrained(str(folder), create_model_card=False)
    pooling = next(module for module in student if isinstance(module, Pooling))
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for module in modules:
        name = module["type"].rpartition(".")[2]
        module["type"] = f"sentence_transformers.models.{name}"
        if name == "Pooling":
            write_json(folder / module["path"] / "config.json", _pooling_config(pooling))
        if name == "Dense":
            _keep_keys(folder / module["path"] / "config.json", _DENSE_KEYS)
    write_json(folder / "modules.json", modules)
    config = {"max_seq_length": student.max_seq_length, "do_lower_case": False}
    write_json(folder / "sentence_bert_config.json", config)
    if record is not None:
        write_json(folder / "recipe.json", record)


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn a failed write of torch or safetensors, which say it each in their own way, into an `OSError`."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        if shutil.disk_usage(folder).free > _ALMOST_FULL:
            raise
        raise OSError(errno.ENOSPC, "no space left on the disk", str(folder)) from error


def forget_last_call(student: SentenceTransformer) -> None:
    """Take the padding and truncation of the last call out of the tokenizer, which would save them as its own.

    Whoever reads tokenizer.json alone would cut texts at the length of training.
    """
    student.tokenizer.backend_tokenizer.no_truncation()
    student.tokenizer.backend_tokenizer.no_padding()


def _keep_keys(path: Path, keys: Sequence[str]) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {key: config[key] for key in keys})


def _pooling_config(pooling: Pooling) -> dict[str, int | bool]:
    modes = {f"pooling_mode_{key}": key == "mean_tokens" for key in _POOLING_KEYS}
    return {"word_embedding_dimension": pooling.embedding_dimension, **modes}
