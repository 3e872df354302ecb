"""Selection of texts: the usable rows, without duplicates, up to the limits of the recipe."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

from leaf_st.recipe import KINDS, Kind, TextsSpec
from leaf_st.texts import Text
from leaf_st.texts.check import flaw, stripped_texts
from leaf_st.texts.dedupe import Deduplicator
from leaf_st.texts.exclude import EXCLUDED, Contents
from leaf_st.texts.files import Rows
from leaf_st.texts.sentence import SentenceFinder

Cut = Callable[[Sequence[Text]], list[Text]]


def total_limit(spec: TextsSpec) -> float:
    """Return the maximum number of all texts of ``spec``."""
    return spec.limit if isinstance(spec.limit, int) else sum(limits_by_kind(spec).values())


def limits_by_kind(spec: TextsSpec) -> dict[str, float]:
    """Return the maximum number of texts of each kind."""
    given = spec.limit if isinstance(spec.limit, Mapping) else {}
    return {kind: math.inf if (limit := given.get(kind)) is None else limit for kind in KINDS}


class Selection:
    """Selects texts from blocks of rows, in order.

    Args:
        spec: The limits, and whether to add sentences of documents as queries.
        skipped: Counts the unusable rows, by reason. Rows above a limit are not counted.
        prompts: Prompt by kind, which is a part of a text's identity; None if the kind is that part.
        seen: The texts that were selected before.
        excluded: Texts that must not be selected, none if None. A document among them gives no sentence either.
        cut: Shortens texts before they are compared with each other.
        selected: Counts the selected texts of each kind.
    """

    def __init__(
        self,
        spec: TextsSpec,
        skipped: Counter[str],
        prompts: Mapping[str, str] | None,
        seen: Deduplicator,
        excluded: Contents | None = None,
        cut: Cut = list,
        selected: Counter[str] | None = None,
    ) -> None:
        self._limits, self._total = limits_by_kind(spec), total_limit(spec)
        self._sentences = SentenceFinder() if spec.sentences else None
        self._skipped, self._seen, self._excluded = skipped, seen, excluded
        self._cut = cut
        self._prompts = prompts if prompts is not None else {kind: kind for kind in KINDS}
        self._selected = Counter[str]() if selected is None else selected

    @property
    def is_empty(self) -> bool:
        """Whether no text was selected."""
        return not self._selected

    @property
    def is_full(self) -> bool:
        """Whether no further text can be selected."""
        return self._selected.total() >= self._total

    def finish(self) -> None:
        """Note that no further row is read."""
        if self._sentences:
            self._sentences.finish()

    def texts(self, rows: Rows) -> Iterator[Text]:
        """Yield the selected texts of ``rows``."""
        texts = None if self._sentences else stripped_texts(rows.texts, rows.kinds)
        if texts is None or self._may_exceed(cast(Sequence[str], rows.kinds)):
            return self._one_by_one(rows)
        return self._together(list(map(Text, texts, cast(Sequence[Kind], rows.kinds))), rows)

    def _may_exceed(self, kinds: Sequence[str]) -> bool:
        """Return whether texts of these ``kinds`` may exceed a limit."""
        after = self._selected + Counter(kinds)
        return after.total() > self._total or any(after[kind] > limit for kind, limit in self._limits.items())

    def _together(self, texts: Sequence[Text], rows: Rows) -> Iterator[Text]:
        """Yield the new texts of a block whose rows are all usable."""
        allowed = self._allowed(texts)
        rows.progress.rows += len(texts) - len(allowed)
        cut = self._cut(allowed)
        pairs = [(self._prompts[text.kind], text.text) for text in cut]
        for text, is_new in zip(cut, self._seen.are_new(pairs), strict=True):
            rows.progress.rows += 1
            if is_new:
                self._selected[text.kind] += 1
                yield text
            else:
                self._skipped["duplicate"] += 1

    def _one_by_one(self, rows: Rows) -> Iterator[Text]:
        reasons = list(map(flaw, rows.texts, rows.kinds))
        stripped = zip(rows.texts, rows.kinds, reasons, strict=True)
        whole = [Text(cast(str, text).strip(), cast(Kind, kind)) for text, kind, reason in stripped if reason is None]
        usable = zip(whole, self._cut(whole), strict=True)
        for reason in reasons:
            rows.progress.rows += 1
            if reason is not None:
                self._skipped[reason] += 1
                continue
            complete, cut = next(usable)
            for text in self._candidates(complete, cut):
                if self._selected[text.kind] >= self._limits[text.kind]:
                    continue
                if not self._seen.is_new(self._prompts[text.kind], text.text):
                    self._skipped["duplicate"] += 1
                    continue
                self._selected[text.kind] += 1
                yield text
                if self.is_full:
                    return

    def _candidates(self, complete: Text, cut: Text) -> list[Text]:
        """Return a usable text, and a sentence of the complete text if sentences are wanted and there is one."""
        if not self._allowed([complete]):
            return []
        if self._sentences and complete.kind == "document" and (sentence := self._sentences.find(complete.text)):
            return [cut, *self._cut(self._allowed([Text(sentence, "query")]))]
        return [cut]

    def _allowed(self, texts: Sequence[Text]) -> Sequence[Text]:
        """Return the ``texts`` that are not excluded."""
        if self._excluded is None:
            return texts
        is_excluded = self._excluded.include([text.text for text in texts]).tolist()
        if count := sum(is_excluded):
            self._skipped[EXCLUDED] += count
        return [text for text, excluded in zip(texts, is_excluded, strict=True) if not excluded]
