"""Count the texts of a recipe by source and kind, measure their lengths, and draw a sample, for a plan.

Local sources are read by the reader of the training texts. The paper's sources are not read: the paper states their
sizes (Table 1), and the sample consists of made-up texts of these lengths.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from leaf_st.recipe import KINDS, PAPER, Kind, TextsSpec
from leaf_st.texts import Text
from leaf_st.texts.check import log_left_out
from leaf_st.texts.exclude import Contents
from leaf_st.texts.paper.fetch import selected_sources
from leaf_st.texts.paper.sources import SOURCES
from leaf_st.texts.read import read_texts
from leaf_st.texts.select import Cut

SAMPLE = 1536
_SENTENCE = 134.0  # characters, the 31 tokens of a sentence in the mix of leaf-mini's card
_logger = logging.getLogger(__name__)
# Common and rare words, with 4.6 characters per token in the vocabulary of BERT.
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
        name: Name of the source.
        kind: Kind of the texts.
        rows: Number of texts.
        characters: Mean length of a text in characters.
        size: Size of all texts in bytes.
    """

    name: str
    kind: Kind
    rows: int
    characters: float
    size: int


Counts = tuple[list[SourceRows], list[Text]]  # and a sample of the texts


def survey(
    spec: TextsSpec,
    key: str = "texts",
    prompts: Mapping[str, str] | None = None,
    size: int | None = None,
    skipped: Counter[str] | None = None,
    excluded: Contents | None = None,
    cut: Cut = list,
    usable: Callable[[Iterable[Text], Counter[str]], Iterable[Text]] = lambda texts, _: texts,
) -> Counts:
    """Return the number of texts of ``spec`` by source and kind, and a random sample of the texts.

    Args:
        spec: The texts to count.
        key: Name of ``spec`` in the recipe, for errors: "texts" or "general".
        prompts: The teacher's prompts, as for `leaf_st.texts.read.read_texts`.
        size: Maximum number of texts in the sample; `SAMPLE` if None.
        skipped: Counts the rows that are left out, by reason.
        excluded: As for `leaf_st.texts.read.read_texts`; the paper's texts are not compared.
        cut: Shortens the texts, as for `leaf_st.texts.read.read_texts`.
        usable: Selects the texts that can be embedded, and counts the others by reason; all texts by default.

    Raises:
        InputError: As `leaf_st.texts.read.read_texts`.
    """
    if spec.source == PAPER:
        return (declared := list(_declared(spec))), _made_up(declared)
    skipped = Counter() if skipped is None else skipped
    texts = read_texts(spec, skipped, key, prompts, excluded=excluded, cut=cut)
    counts = _counted(usable(texts, skipped), spec.source, SAMPLE if size is None else size)
    log_left_out(_logger, spec.source, skipped)
    return counts


def _counted(texts: Iterable[Text], source: str, most: int) -> Counts:
    rng, sample = random.Random(0), list[Text]()
    rows, characters, size = (Counter[Kind]() for _ in range(3))
    for number, row in enumerate(texts):
        rows[row.kind] += 1
        characters[row.kind] += len(row.text)
        size[row.kind] += len(row.text.encode())
        if number < most:
            sample.append(row)
        elif (place := rng.randrange(number + 1)) < most:  # every text is equally likely to be in the sample
            sample[place] = row
    kinds = [kind for kind in KINDS if rows[kind]]
    return [SourceRows(source, kind, rows[kind], characters[kind] / rows[kind], size[kind]) for kind in kinds], sample


def _declared(spec: TextsSpec) -> Iterator[SourceRows]:
    """Yield the paper's sources with the paper's counts, and a sentence of each document that is longer than one."""
    documents = 0
    for name in selected_sources(spec):
        source = SOURCES[name]
        rows = min(source.expected, spec.per_source or source.expected)
        yield SourceRows(name, source.kind, rows, source.characters, round(rows * source.characters))
        if source.kind == "document" and source.characters > _SENTENCE:
            documents += rows
    if spec.sentences and documents:
        yield SourceRows("sentences", "query", documents, _SENTENCE, round(documents * _SENTENCE))


def _made_up(sources: Sequence[SourceRows]) -> list[Text]:
    """Return made-up texts with the kinds and lengths of ``sources``, in the proportions of their rows."""
    rng, words, total = random.Random(0), _WORDS.split(), sum(source.rows for source in sources)
    texts = []
    for source in sources:
        length = round(source.characters)
        for _ in range(max(1, round(SAMPLE * source.rows / total))):
            texts.append(Text(" ".join(rng.choices(words, k=1 + length // 2))[:length].strip(), source.kind))
    return texts
