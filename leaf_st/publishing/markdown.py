"""Markdown whose words stay words: whatever a template is given is escaped, but what it is given as code."""

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

# All that can begin something in GitHub's Markdown within a line, or end a cell of a table.
_SPECIAL = re.compile(r"([\\`*_\[\]{}|#~$<>])")


def environment() -> Environment:
    """Return the environment of the templates; a `markupsafe.Markup` is put in as it is."""
    return Environment(
        loader=PackageLoader("leaf_st.publishing", "."),
        finalize=lambda value: value if isinstance(value, Markup) else escape(str(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def escape(text: str) -> str:
    """Return ``text`` as Markdown of one line that shows it."""
    folded = " ".join(text.replace("&", "&amp;").split())
    # An underscore inside a word begins nothing, and names are full of them.
    return re.sub(r"(?<=\w)\\_(?=\w)", "_", _SPECIAL.sub(r"\\\1", folded))


def as_code(text: str) -> Markup:
    """Return ``text`` for a template as it is."""
    return Markup(text)
