"""The documents of a search: the texts of a source that are not queries, and their titles."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from leaf_st.recipe import TextsSpec
from leaf_st.texts.files import local_source, titled_blocks
from leaf_st.texts.read import read_texts


class Document(NamedTuple):
    """A document to search for.

    Attributes:
        embedded: What a model reads.
        title: What a page shows as title; may be empty.
        text: What a page shows below the title.
    """

    embedded: str
    title: str
    text: str


def read_documents(source: Path, text_column: str, skipped: Counter[str]) -> list[str]:
    """Return the usable documents of ``source`` without duplicates; ``skipped`` counts the others by reason.

    Raises:
        FieldError: If the source cannot be read or contains no usable text.
    """
    rows = list(read_texts(TextsSpec(source=str(source), text_column=text_column), skipped))
    documents = [row.text for row in rows if row.kind == "document"]
    if queries := len(rows) - len(documents):
        skipped["of kind query"] = queries
    return documents


def read_titled_documents(
    source: Path, text_column: str, skipped: Counter[str], title_column: str | None = None
) -> list[Document]:
    """Return the usable documents of ``source`` with their titles.

    In a BEIR folder, a model reads the title and the text. In a table, it reads only the text. Documents of equal text
    and different titles are different documents.

    Args:
        source: The source.
        text_column: The column of the texts.
        skipped: Counts the other rows by reason.
        title_column: The column of the titles; if None, ``title`` if the source has such a column.

    Raises:
        FieldError: If the source cannot be read, contains no usable text, or has no such column.
    """
    texts = read_documents(source, text_column, skipped)
    shown = _shown(source, text_column, title_column)
    documents = [Document(text, *each) for text in texts for each in shown.get(text, [("", text)])]
    skipped -= Counter(duplicate=len(documents) - len(texts))  # rows of equal text and another title
    return documents


def _shown(source: Path, text_column: str, title_column: str | None) -> dict[str, dict[tuple[str, str], None]]:
    """Return the different titles and texts that a page shows, by what a model reads of them, in their order."""
    found: dict[str, dict[tuple[str, str], None]] = {}
    for embedded, title, text in titled_blocks(local_source(str(source)), text_column, title_column):
        if isinstance(embedded, str) and isinstance(text, str):
            shown = "" if title is None else " ".join(str(title).split())
            shown = shown.encode(errors="replace").decode()  # UTF-8 cannot encode a lone surrogate
            found.setdefault(embedded.strip(), {})[shown, text.strip()] = None
    return found
