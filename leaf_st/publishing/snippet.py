"""Code for a model card: how to encode where neither torch nor sentence-transformers is installed."""

import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template

from leaf_st.export.encoder import GRAPHS, GraphKind
from leaf_st.teacher.local import own_prompt


def onnx_snippet(folder: str, prompts: Mapping[str, str | None], length: int, kind: GraphKind = "onnx int8") -> str:
    """Return Python that encodes with onnxruntime, tokenizers and NumPy alone.

    Args:
        folder: Where the reader has the model.
        prompts: The model's, by name.
        length: Tokens that it reads of a text.
        kind: Which of its graphs.
    """
    template = Template(files("leaf_st.publishing").joinpath("snippets/onnx.template").read_text(encoding="utf-8"))
    return template.substitute(
        folder=folder,
        length=length,
        graph=GRAPHS[kind].as_posix(),
        query=json.dumps(own_prompt(prompts, "query"), ensure_ascii=False),
        document=json.dumps(own_prompt(prompts, "document"), ensure_ascii=False),
    )
