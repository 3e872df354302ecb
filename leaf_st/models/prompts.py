"""The prompts that a model puts before queries, documents and other texts."""

from collections.abc import Mapping

from leaf_st.recipe import Kind

# Names under which `encode_query` and `encode_document` of sentence-transformers look up a prompt, in order.
_NAMES: dict[Kind, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


def task_prompts(prompts: Mapping[str, str | None]) -> dict[str, str]:
    """Return the prompts of a model for texts that are neither queries nor documents, by name of a task or type."""
    of_kinds = {name for names in _NAMES.values() for name in names}
    return {name: prompt for name, prompt in prompts.items() if prompt and name not in of_kinds}


def unused_prompt(prompts: Mapping[str, str | None], kind: Kind) -> str | None:
    """Return the name of a prompt, such as search_query, that seems meant for texts of ``kind``, which have none.

    The result is None if there is no such prompt. A loaded model always has a prompt with the first name:
    sentence-transformers adds an empty one.
    """
    if prompt_for(prompts, kind):
        return None
    meant = (name for part in _NAMES[kind] for name, prompt in prompts.items() if prompt and part in name.lower())
    return next(meant, None)


def prompt_for(prompts: Mapping[str, str | None], kind: Kind) -> str:
    """Return the prompt that ``encode_query`` or ``encode_document`` of a model with ``prompts`` uses."""
    return next((prompts[name] or "" for name in _NAMES[kind] if name in prompts), "")
