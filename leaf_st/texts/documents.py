"""The documents of a search: the texts of a source that are not queries, and their titles."""

from collections import Counter
from collections.abc import Iterator, Sequence
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


def with_titles(
    documents: Sequence[str], source: Path, text_column: str, title_column: str | None = None
) -> list[Document]:
    """Return ``documents`` from `read_documents` with their titles.

    In a BEIR folder, a model reads the title and the text. In a table, it reads only the text.

    Args:
        documents: The documents.
        source: Their source.
        text_column: The column of the texts.
        title_column: The column of the titles; if None, ``title`` if the source has such a column.

    Raises:
        FieldError: If the source has no such column.
    """
    titles = dict(_titles(source, text_column, title_column))
    return [Document(text, *titles.get(text, ("", text))) for text in documents]


def _titles(source: Path, text_column: str, title_column: str | None) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what a model reads of each row, with title and text; of equal rows, the first comes last."""
    found = []
    for embedded, title, text in titled_blocks(local_source(str(source)), text_column, title_column):
        if isinstance(embedded, str) and isinstance(text, str):
            shown = "" if title is None else " ".join(str(title).split())
            found.append((embedded.strip(), (shown, text.strip())))
    return reversed(found)
