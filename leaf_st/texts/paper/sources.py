"""The nine sources of the paper's training texts (Table 1), as published on the hub.

Ids and columns are from the data sets' public pages; `leaf_st.texts.paper.fetch` checks all columns before it reads
texts. Counts and lengths are the paper's.
"""

from dataclasses import dataclass

from leaf_st.recipe import Kind

_OPEN = frozenset({"apache-2.0", "mit", "odc-by"})
_DOMAINS = ("writing", "recreation", "science", "technology", "lifestyle")


@dataclass(frozen=True)
class Source:
    """Texts of one data set on the hub.

    Attributes:
        hub_id: Id of the data set; None for the vocabulary of the student's tokenizer.
        configs: Configurations of the data set, read one after the other.
        columns: Columns whose texts are joined by ": ".
        kind: Kind of all texts.
        licence: Licence that the data set states.
        expected: Number of texts in the paper.
        characters: Mean length of a text in the paper.
        split: Split to read; all splits if None.
        revision: Commit or branch; if None, the newest commit at the first download.
        sample: Texts to take from each configuration, spread over all its files; all texts if None.
        only: (column, value): take only rows with this value in the column.
        named_in: (configuration, split, its id column, id column of the rows): take only rows with an id in that split.
        distinct: Whether to drop duplicates.
        listed: Whether the column holds lists of texts.
    """

    hub_id: str | None
    configs: tuple[str, ...]
    columns: tuple[str, ...]
    kind: Kind
    licence: str
    expected: int
    characters: float
    split: str | None = "train"
    revision: str | None = None
    sample: int | None = None
    only: tuple[str, str] | None = None
    named_in: tuple[str, str, str, str] | None = None
    distinct: bool = False
    listed: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns to read."""
        more = [self.only[0]] if self.only else []
        return (*self.columns, *more, *([self.named_in[3]] if self.named_in else []))

    @property
    def is_open(self) -> bool:
        """Whether the licence allows any use of the texts."""
        return self.licence in _OPEN


SOURCES = {
    "fineweb": Source(
        hub_id="HuggingFaceFW/fineweb",
        configs=("sample-10BT",),
        columns=("text",),
        kind="document",
        licence="odc-by",
        expected=3_000_000,
        characters=1840.2,
        sample=3_000_000,
    ),
    "cc-news": Source(
        hub_id="stanford-oval/ccnews",
        configs=tuple(str(year) for year in range(2016, 2025)),
        columns=("title", "plain_text"),
        kind="document",
        licence="Common Crawl terms of use",
        expected=900_000,
        characters=1655.2,
        sample=100_000,
        only=("language", "en"),
    ),
    "bert-tokens": Source(
        hub_id=None,
        configs=(),
        columns=(),
        kind="document",
        licence="apache-2.0",
        expected=30_522,
        characters=6.5,
    ),
    "vocabulary": Source(
        hub_id="MongoDB/english-words-definitions",
        configs=("default",),
        columns=("definitions",),
        kind="document",
        licence="apache-2.0",
        expected=800_000,
        characters=91.0,
        listed=True,
    ),
    "amazon-qa": Source(
        hub_id="embedding-data/Amazon-QA",
        configs=("default",),
        columns=("query",),
        kind="query",
        licence="mit",
        expected=979_000,
        characters=87.2,
        distinct=True,
    ),
    "lotte": Source(
        hub_id="mteb/LoTTE",
        configs=tuple(f"{domain}_{asked}-queries" for domain in _DOMAINS for asked in ("search", "forum")),
        columns=("text",),
        kind="query",
        licence="mit",
        expected=27_000,
        characters=52.0,
        split=None,
    ),
    "msmarco": Source(
        hub_id="mteb/msmarco",
        configs=("queries",),
        columns=("text",),
        kind="query",
        licence="non-commercial research (MS MARCO terms)",
        expected=502_939,
        characters=33.2,
        split=None,
        named_in=("default", "train", "query-id", "_id"),
    ),
    "pubmedqa": Source(
        hub_id="qiaojin/PubMedQA",
        configs=("pqa_artificial", "pqa_unlabeled"),
        columns=("question",),
        kind="query",
        licence="mit",
        expected=272_518,
        characters=110.5,
    ),
    "triviaqa": Source(
        hub_id="sentence-transformers/trivia-qa",
        configs=("pair",),
        columns=("query",),
        kind="query",
        licence="not stated",
        expected=73_346,
        characters=77.9,
    ),
}
