"""Clean and unique texts of any source: the teacher's input.

The source is a file or folder (`leaf_st.texts.files`) or this machine's documentation (`leaf_st.texts.docstrings`).
Data sets on the hub are downloaded into files first (`leaf_st.hub.dataset_files`, `leaf_st.texts.paper.fetch`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice

from leaf_st.errors import FieldError
from leaf_st.recipe import DOCSTRINGS, TextsSpec
from leaf_st.texts import Text
from leaf_st.texts.check import NOT_TEXT, NOT_UTF_8, OTHER_KIND, in_words
from leaf_st.texts.dedupe import Deduplicator
from leaf_st.texts.docstrings import docstring_texts
from leaf_st.texts.exclude import EXCLUDED, Contents
from leaf_st.texts.files import Rows, read_file
from leaf_st.texts.lines import EXTRA_CELLS, LONG_INTEGER, NOT_OBJECT, TOO_DEEP
from leaf_st.texts.progress import PartProgress, ReadProgress
from leaf_st.texts.select import Cut, Selection, limits_by_kind, total_limit

_REMEDIES = {
    NOT_UTF_8: "convert the file to UTF-8",
    NOT_OBJECT: "write one JSON object per line",
    LONG_INTEGER: "write such integers as strings, or leave them out",
    TOO_DEEP: "write the texts without the nested values",
    NOT_TEXT: "name a column of strings; write a text that is a part of a list or an object into a column of its own",
    OTHER_KIND: "write query, document or nothing into the column of kinds (texts.kind_column), or rename this column",
    EXTRA_CELLS: "put texts that contain the separator in quotes, without a blank before the quotes",
    EXCLUDED: "texts.exclude=[] keeps the texts of the evaluation sets",
}


def read_texts(
    spec: TextsSpec,
    skipped: Counter[str],
    key: str = "texts",
    prompts: Mapping[str, str] | None = None,
    progress: ReadProgress | None = None,
    excluded: Contents | None = None,
    cut: Cut = list,
) -> Iterator[Text]:
    """Yield the usable texts of ``spec`` without duplicates, in the order of the source.

    Args:
        spec: The texts to read, and their maximum number.
        skipped: Counts the unusable rows that were read, by reason. Rows above a limit are not counted.
        key: Name of ``spec`` in the recipe, for errors: "texts" or "general".
        prompts: The teacher's prompts by kind. If two kinds have the same prompt, a text of both kinds is yielded once,
            as the kind that occurs first. If None, a text of both kinds is yielded twice.
        progress: Progress to update while the source is read.
        excluded: Texts to leave out, none if None.
        cut: Shortens a block of texts, before duplicates are left out; the texts stay complete by default.

    Raises:
        InputError: If the source cannot be read or contains no usable text.
    """
    progress = progress or ReadProgress()
    progress.limit, progress.limits = total_limit(spec), limits_by_kind(spec)
    with Deduplicator() as seen:
        selection = Selection(spec, skipped, prompts, seen, excluded, cut, progress.selected)
        for rows in _rows(spec, skipped, key, progress):
            yield from selection.texts(rows)
            if selection.is_full:
                break
    selection.finish()
    if selection.is_empty:
        raise _no_texts(spec, skipped, key)


def require_texts(spec: TextsSpec, key: str = "texts", most: int = 1, excluded: Contents | None = None) -> int:
    """Check that the source of ``spec`` can be opened and contains a usable text; stop reading at ``most`` texts.

    Args:
        spec: The texts to read.
        key: As for `read_texts`.
        most: Number of texts after which no further text is read.
        excluded: As for `read_texts`.

    Returns:
        The number of texts, at most ``most``.

    Raises:
        InputError: As `read_texts`.
    """
    if spec.source == DOCSTRINGS:  # the standard library always has more docstrings than ``most``
        return int(min(most, total_limit(spec)))
    return sum(1 for _ in islice(read_texts(spec, Counter(), key, excluded=excluded), most))


def _no_texts(spec: TextsSpec, skipped: Counter[str], key: str) -> FieldError:
    # A reason may continue after its beginning, as in "not a JSON object but a string".
    given = [remedy for reason, remedy in _REMEDIES.items() if any(found.startswith(reason) for found in skipped)]
    remedies = ["name another source or column", *given]
    return FieldError(
        key,
        "source",
        f"expected at least one usable text, found none (rows left out: {in_words(skipped) or 'none'}): "
        + "; ".join(remedies),
        spec.source,
    )


def _rows(spec: TextsSpec, skipped: Counter[str], key: str, progress: ReadProgress) -> Iterator[Rows]:
    if spec.source != DOCSTRINGS:
        return read_file(spec, skipped, key, progress)
    uncounted = PartProgress(0)  # the docstrings' progress is counted in modules
    return (Rows([row.text], [row.kind], uncounted) for row in docstring_texts(progress=progress))
