"""A part of a retrieval set, for a comparison of two encoders that takes seconds."""

from dataclasses import replace

import numpy as np

from leaf_st.evaluation.beir import BeirSet


def sampled(beir: BeirSet, documents: int) -> BeirSet:
    """Return a part of ``beir`` with about ``documents`` documents, the same part in each call.

    Queries with few relevant documents come first, because many queries make the mean nDCG@10 precise. Their relevant
    documents are at most half of the sample, unless the first query has more; random documents are the other part.
    """
    if len(beir.corpus) <= documents:
        return beir
    draw = np.random.default_rng(0)
    places = {row["id"]: place for place, row in enumerate(beir.corpus)}
    relevant = [_relevant(beir.qrels[row["id"]], places) for row in beir.queries]
    kept: set[int] = set()
    asked: list[int] = []
    for query in sorted(draw.permutation(len(beir.queries)).tolist(), key=lambda query: len(relevant[query])):
        if relevant[query] and (not asked or len(kept | relevant[query]) <= documents // 2):
            kept |= relevant[query]
            asked.append(query)
    others = [place for place in draw.permutation(len(beir.corpus)).tolist() if place not in kept]
    chosen = sorted(kept | set(others[: max(0, documents - len(kept))]))
    return _part(beir, sorted(asked), chosen)


def _relevant(grades: dict[str, int], places: dict[str, int]) -> set[int]:
    return {places[document] for document, grade in grades.items() if grade > 0 and document in places}


def _part(beir: BeirSet, queries: list[int], documents: list[int]) -> BeirSet:
    rows, new_place = [beir.queries[query] for query in queries], {old: new for new, old in enumerate(documents)}
    return replace(
        beir,
        corpus=[beir.corpus[place] for place in documents],
        queries=rows,
        qrels={row["id"]: beir.qrels[row["id"]] for row in rows},
        own={row["id"]: new_place[beir.own[row["id"]]] for row in rows if beir.own.get(row["id"], -1) in new_place},
    )
