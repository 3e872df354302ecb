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
from sentence_transformers.sentence_transformer.modules import Pooling

from leaf_st.atomic import replace_folder, write_json
from leaf_st.student.static import is_static

# More than these, which new versions write, would be refused by the constructor of an old version's Dense.
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function")
_ALMOST_FULL = 1 << 28  # bytes; a checkpoint is about as large
_POOLING_KEYS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")


def save_portable(student: SentenceTransformer, folder: Path, record: Any = None) -> None:  # noqa: ANN401
    """Save ``student`` to ``folder``, whole or not at all, in the legacy layout.

    Args:
        student: From `build_student` or `build_static`.
        folder: A model saved here before is replaced.
        record: JSON value that says where the model comes from, for its ``recipe.json``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_named(folder.parent):
        replace_folder(folder, lambda fresh: _save(student, fresh, record))


def _save(student: SentenceTransformer, folder: Path, record: Any) -> None:  # noqa: ANN401  (any JSON value)
    if not is_static(student):
        forget_last_call(student)
    student.save_pretrained(str(folder), create_model_card=False)
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for module in modules:
        name = module["type"].rpartition(".")[2]
        module["type"] = f"sentence_transformers.models.{name}"
        config = folder / module["path"] / "config.json"
        if name == "Transformer":
            reading = {"max_seq_length": student.max_seq_length, "do_lower_case": False}
            write_json(folder / "sentence_bert_config.json", reading)
        elif name == "Pooling":
            write_json(config, _pooling_config(cast(Pooling, student[module["idx"]])))
        elif name == "Dense":
            _keep_keys(config, _DENSE_KEYS)
        elif name == "StaticEmbedding":
            module["path"] = _in_a_folder_of_its_own(folder, f"0_{name}")
    write_json(folder / "modules.json", modules)
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
    modes = {f"pooling_mode_{key}": key == "mean_tokens" for key in _POOLING_KEYS}
    return {"word_embedding_dimension": pooling.embedding_dimension, **modes}
