"""The part of a recipe that names the training texts."""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, model_validator
from pydantic.dataclasses import dataclass

from leaf_st.recipe.part import CONFIG, Conflict, part
from leaf_st.recipe.types import AtLeast0, AtLeast1, Named, Names, NonEmpty, SetNames, TextSource

Kind = Literal["query", "document"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DOCSTRINGS = "docstrings"
PAPER = "paper"

_BY_KIND = "mapping from query or document to text"


def _by_kind(values: Mapping[str, str]) -> dict[str, str]:
    if unknown := sorted(values.keys() - set(KINDS)):
        raise ValueError(f"expected {_BY_KIND}, found the key {unknown[0]!r}: use one of {', '.join(KINDS)}")
    return dict(values)


TextByKind = Annotated[Mapping[str, str], AfterValidator(_by_kind), Named(_BY_KIND)]
_Limits = Annotated[
    Mapping[Kind, AtLeast0 | None],
    AfterValidator(dict),
    Named("mapping from query or document to int, such as {'query': 500, 'document': 1000}"),
]


@part("texts")
@dataclass(frozen=True, config=CONFIG)
class TextsSpec:
    """The training texts."""

    source: TextSource = DOCSTRINGS
    """A file or folder, "docstrings" (the documentation strings of the installed packages), "paper" (the nine sources
    of the paper's Table 1, read from the Hugging Face Hub), or the parquet files of a data set on the hub:
    hf://datasets/OWNER/NAME, optionally with @REVISION and a folder or file, such as
    hf://datasets/Cohere/wikipedia-2023-11-embed-multilingual-v3/en. See `leaf_st.texts.formats` for the formats."""
    text_column: NonEmpty = "text"
    """Table column that contains the text."""
    kind_column: NonEmpty = "kind"
    """Table column that contains "query" or "document"; ignored if the table has no such column."""
    kind: Kind = "document"
    """Kind of the rows that do not state a kind."""
    limit: AtLeast1 | _Limits | None = None
    """Maximum number of texts, in total or for each kind; no maximum if None."""
    sentences: bool = False
    """Whether to use one sentence of each document as an additional query, including documents above the limit. Thai
    and Lao documents have none, because these scripts have no punctuation between sentences."""
    leave_out: Names = ()
    """Names of the paper's sources to leave out; valid only with source "paper"."""
    per_source: AtLeast1 | None = None
    """Maximum number of texts from each of the paper's sources; no maximum if None. Valid only with source "paper"."""
    exclude: SetNames | None = None
    """Evaluation sets (as for `leaf-st evaluate --tasks`) whose queries and documents are not trained on. A text is
    left out if it equals one of them except for case, punctuation and spaces. If None, the sets of `evaluate_on`; an
    empty list keeps all texts."""

    @model_validator(mode="after")
    def _check_paper(self) -> "TextsSpec":
        if self.source == PAPER:
            if self.limit is not None:
                raise Conflict(
                    "limit",
                    f"expected None with source={PAPER}, found {self.limit!r}: all texts would be fetched and most of "
                    "them discarded; set per_source instead",
                )
            return self
        for name in ("leave_out", "per_source"):
            if value := getattr(self, name):
                raise Conflict(
                    name,
                    f"expected source={PAPER}, whose sources this field selects, found source={self.source!r} with "
                    f"{name}={value!r}: remove the field",
                )
        return self

    @property
    def is_limited(self) -> bool:
        """Whether the number of rows is limited for every kind."""
        if isinstance(self.limit, Mapping):
            return all(self.limit.get(kind) is not None for kind in KINDS)
        return self.limit is not None
