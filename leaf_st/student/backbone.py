"""Checks of a student's encoder, so that every program that reads a published folder can load the student."""

from sentence_transformers.sentence_transformer.modules import Transformer
from transformers import PreTrainedTokenizerFast

from leaf_st.errors import InputError

_OWN_CODE = "transformers_modules"  # the package in which transformers puts the code of a model's repository


def require_portable(transformer: Transformer, role: str, name: str) -> None:
    """Check that ``transformer`` can be saved as a model folder that needs no other files and no custom code.

    Args:
        transformer: The encoder.
        role: What errors call the model, as in `leaf_st.models.load.load_model`.
        name: The model's name.

    Raises:
        InputError: If the encoder runs its own code, or has a tokenizer written in Python.
    """
    model = transformer.model
    if type(model).__module__.partition(".")[0] == _OWN_CODE:
        raise InputError(
            f"{role} {name}: expected a model type of transformers, found custom code ({type(model).__name__}), "
            "which other programs do not run: name another student.backbone"
        )
    if not isinstance(transformer.tokenizer, PreTrainedTokenizerFast):
        raise InputError(
            f"{role} {name}: expected a fast tokenizer (tokenizer.json), found a tokenizer written in Python "
            f"({type(transformer.tokenizer).__name__}): name a student.backbone with a fast tokenizer"
        )
