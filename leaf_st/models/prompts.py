"""The prompts that a model puts before queries and documents."""

from collections.abc import Mapping

from leaf_st.recipe import Kind

# Names under which `encode_query` and `encode_document` of sentence-transformers look up a prompt, in order.
_NAMES: dict[Kind, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


def prompt_for(prompts: Mapping[str, str | None], kind: Kind) -> str:
    """Return the prompt that ``encode_query`` or ``encode_document`` of a model with ``prompts`` uses."""
    return next((prompts[name] or "" for name in _NAMES[kind] if name in prompts), "")
