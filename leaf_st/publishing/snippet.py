"""Code for a model card: how to encode where neither torch nor sentence-transformers is installed."""

import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template

from leaf_st.export.forms import form_named
from leaf_st.models.prompts import prompt_for


def onnx_snippet(folder: str, prompts: Mapping[str, str | None], length: int, form: str) -> str:
    """Return Python that encodes with onnxruntime, tokenizers and NumPy alone.

    Args:
        folder: Where the reader has the model.
        prompts: The model's, by name.
        length: Tokens that it reads of a text.
        form: The name of the export form to run.
    """
    template = Template(files("leaf_st.publishing").joinpath("snippets/onnx.template").read_text(encoding="utf-8"))
    return template.substitute(
        folder=folder,
        length=length,
        graph=form_named(form).file.as_posix(),
        query=json.dumps(prompt_for(prompts, "query"), ensure_ascii=False),
        document=json.dumps(prompt_for(prompts, "document"), ensure_ascii=False),
    )
