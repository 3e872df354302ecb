"""The prompt that a model puts before a text, by the kind of the text."""

from collections.abc import Mapping

from leaf_st.recipe import Kind

# The names under which `encode_query` and `encode_document` of sentence-transformers look for a prompt, in their order.
_NAMES: dict[Kind, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


def prompt_for(prompts: Mapping[str, str | None], kind: Kind) -> str:
    """Return the prompt that ``encode_query`` or ``encode_document`` of a model with ``prompts`` uses."""
    return next((prompts[name] or "" for name in _NAMES[kind] if name in prompts), "")
