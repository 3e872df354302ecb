"""How many texts there are and how long, source by source, and a sample of them; for a plan.

Local sources are read as training reads them. Those of the paper are on the hub and say their size (Table 1): they are
not read, and the sample is of made-up texts of their lengths.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leaf_st.recipe import KINDS, PAPER, Kind, TextsSpec
from leaf_st.texts.paper.fetch import chosen
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.texts.read import read_texts
from leaf_st.texts import Text

SAMPLE = 1536
# Common words and rare ones: 4.6 characters a token in the vocabulary of BERT.
_WORDS = """
the of and in to a is for with, on as by that from are was it or which these, at be this an have not between their
model. embedding vectors teacher student documents, queries search language corpus: measured (2025) anticoagulant
photosynthesis, Marrakesh temperature. electrons history river council album percent government published
approximately distillation heterogeneous treaty-bound
"""


@dataclass(frozen=True)
class SourceRows:
    """Texts of one kind in one source.

    Attributes:
        name: The source.
        kind: Their kind.
        rows: Their number.
        characters: Their mean length.
        size: Bytes of them all.
    """

    name: str
    kind: Kind
    rows: int
    characters: float
    size: int


def survey(spec: TextsSpec) -> tuple[list[SourceRows], list[Text]]:
    """Return the texts of ``spec`` by source and kind, and a sample of some hundreds of them or more.

    Raises:
        InputError: As `leaf_st.texts.read.read_texts`.
    """
    if spec.source == PAPER:
        declared = list(_declared(spec))
        return declared, _made_up(declared)
    return _counted(spec)


def _counted(spec: TextsSpec) -> tuple[list[SourceRows], list[Text]]:
    rng = random.Random(0)
    sample: list[Text] = []
    rows, characters, size = (Counter[Kind]() for _ in range(3))
    for number, row in enumerate(read_texts(spec, Counter())):
        rows[row.kind] += 1
        characters[row.kind] += len(row.text)
        size[row.kind] += len(row.text.encode())
        if number < SAMPLE:
            sample.append(row)
        elif (place := rng.randrange(number + 1)) < SAMPLE:  # so that each text is as likely as any other
            sample[place] = row
    found = [
        SourceRows(spec.source, kind, rows[kind], characters[kind] / rows[kind], size[kind])
        for kind in KINDS
        if rows[kind]
    ]
    return found, sample


def _declared(spec: TextsSpec) -> Iterator[SourceRows]:
    """Yield what the paper says of its sources; `sentences` are not counted."""
    for name in chosen(spec):
        source = SOURCES[name]
        rows = min(source.expected, spec.per_source or source.expected)
        yield SourceRows(name, source.kind, rows, source.characters, round(rows * source.characters))


def _made_up(sources: Sequence[SourceRows]) -> list[Text]:
    """Return texts of the kinds and lengths of ``sources``, as many of each as it has of all rows."""
    rng = random.Random(0)
    words = _WORDS.split()
    total = sum(source.rows for source in sources)
    texts = []
    for source in sources:
        length = round(source.characters)
        for _ in range(max(1, round(SAMPLE * source.rows / total))):
            texts.append(Text(" ".join(rng.choices(words, k=1 + length // 2))[:length].strip(), source.kind))
    return texts
