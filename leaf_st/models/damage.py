"""The damaged file of a model whose loading failed: libraries name neither the file nor, often, the cause."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from leaf_st.models.find import files_of_vectors
from leaf_st.models.parts import parts_of
from leaf_st.models.safety import damaged_settings

_NO_PROCESSOR = "Unrecognized processing class"  # transformers' error for each tokenizer that cannot be loaded


def damaged_file(folder: Path, error: Exception | None = None) -> str | None:
    """Return which file of the model in ``folder`` is damaged, and why; None if no file is.

    Args:
        folder: The model.
        error: What loading the model raised, if the model was loaded.
    """
    return damaged_settings(folder) or _damaged_weights(folder) or _damaged_tokenizer(folder, error)


def _damaged_weights(folder: Path) -> str | None:
    for path in sorted(path for path in files_of_vectors(folder) if path.suffix == ".safetensors" and path.is_file()):
        if not path.stat().st_size:
            return f"expected weights, found the empty file {path}"
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            return f"expected weights as safetensors, found damaged content in {path} ({error})"
    return None


def _damaged_tokenizer(folder: Path, error: Exception | None) -> str | None:
    for part, kind in parts_of(folder):
        path = part / "tokenizer.json"
        try:
            if path.is_file():
                Tokenizer.from_file(str(path))
            if kind.endswith(".Transformer") and str(error).startswith(_NO_PROCESSOR):
                AutoTokenizer.from_pretrained(part, local_files_only=True)
        except Exception as cause:  # tokenizers raises plain exceptions
            if not path.is_file():
                return f"expected the files of a tokenizer in {part}, found some that cannot be read ({_line(cause)})"
            return (
                f"expected a tokenizer that this version of tokenizers reads, found damaged or newer content in {path} "
                f"({_line(cause)})"
            )
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
