"""Code for a model card: how to encode where neither torch nor sentence-transformers is installed."""

from importlib.resources import files
from string import Template

from sentence_transformers import SentenceTransformer

from leaf_st.evaluation.onnx_encoder import GRAPHS, GraphKind
from leaf_st.teacher.local import own_prompt


def onnx_snippet(model: SentenceTransformer, folder: str, kind: GraphKind = "onnx int8") -> str:
    """Return Python that encodes with onnxruntime, tokenizers and NumPy alone.

    Args:
        model: For its prompts and the number of tokens that it reads.
        folder: Where the reader has it.
        kind: Which of its graphs.
    """
    template = Template(files("leaf_st.publishing").joinpath("snippets/onnx.template").read_text(encoding="utf-8"))
    return template.substitute(
        folder=folder,
        length=model.max_seq_length,
        graph=GRAPHS[kind].as_posix(),
        query=repr(own_prompt(model, "query")),
        document=repr(own_prompt(model, "document")),
    )
