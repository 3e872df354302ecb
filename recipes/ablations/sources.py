"""Kinds of training texts (paper 2.1, Figure 4): queries, documents, definitions, or all of them.

Command:  python recipes/ablations/sources.py [--texts FILE] [--samples N] [--output DIR] [--smoke]
Result:   README.md in this folder.

All groups have the same number of texts, which is the size of the smallest group, and the same number of training
samples. So no group is repeated more often than another, and only the kind of text differs. Definitions stand in for
the paper's Vocabulary. The column `source` of a parquet file marks them; without such rows the group is left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _outcomes import MODES, Outcome
from _study import Setting, Study, Variant, main
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts.fold import text_id
from leaf_st.texts.read import read_texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEFINITIONS = ("wordnet_glosses", "wordnet_examples")  # values of `source`


def groups(store: EmbeddingStore, rows: NDArray[np.int64], texts: TextsSpec) -> Mapping[str, NDArray[np.int64]]:
    """Return the rows of each group in ascending order, sampled to the size of the smallest group.

    Raises:
        InputError: If a group is empty.
    """
    kinds = np.array([text.kind for text in store.texts(rows)])
    defining = _ids_of_definitions(texts)
    defined = np.isin(np.concatenate(list(store.ids()))[rows], defining)
    found = {"queries": kinds == "query", "documents": (kinds == "document") & ~defined}
    if len(defining):
        found["definitions"] = (kinds == "document") & defined
    found["all"] = np.full(len(rows), True)
    counts = {name: int(chosen.sum()) for name, chosen in found.items()}
    _require_some(counts, texts)  # every text of a group may be held out
    fewest = min(counts.values())
    rng = np.random.default_rng(0)
    return {name: np.sort(rng.choice(rows[chosen], fewest, replace=False)) for name, chosen in found.items()}


def _ids_of_definitions(texts: TextsSpec) -> NDArray[np.int64]:
    """Return the `text_id` of each definition in a parquet file; empty if no column marks definitions."""
    path = Path(texts.source)
    if path.suffix != ".parquet" or not path.is_file():
        return np.empty(0, np.int64)
    try:
        if "source" not in pq.read_schema(path).names:
            return np.empty(0, np.int64)
        table = pq.read_table(path, columns=[texts.text_column, "source"], filters=[("source", "in", DEFINITIONS)])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"texts {path}: broken parquet ({error}): copy the file again or recreate it") from error
    return np.array([text_id(text.strip()) for text in table[texts.text_column].drop_null().to_pylist()], np.int64)


def require_every_group(texts: TextsSpec) -> None:
    """Raise an `InputError` before embedding if a group is empty."""
    defining = set(_ids_of_definitions(texts).tolist())
    found = Counter(queries=0, documents=0, **({"definitions": 0} if defining else {}))
    for row in read_texts(texts, Counter()):
        document = "definitions" if text_id(row.text) in defining else "documents"
        found["queries" if row.kind == "query" else document] += 1
    _require_some(found, texts)


def _require_some(found: Mapping[str, int], texts: TextsSpec) -> None:
    """Raise an `InputError` if a group is empty."""
    if empty := [name for name, count in found.items() if not count]:
        raise InputError(f"texts {texts.source}: expected texts of every group, found no {empty[0]}: change --texts")


def variants(setting: Setting) -> list[Variant]:
    texts = setting.run.recipe.texts
    definitions = len(_ids_of_definitions(texts)) > 0
    names = ["queries", "documents", *(["definitions"] if definitions else []), "all"]
    if not definitions:
        print(f"{texts.source} has no {' or '.join(DEFINITIONS)} in a column `source`: leaving out definitions")

    def pick(store: EmbeddingStore, rows: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        return groups(store, rows, texts)[name]

    check = cache(partial(require_every_group, texts))
    return [
        setting.variant(name, change=f"rows of {name}", rows=partial(pick, name=name), check=check) for name in names
    ]


def draw(axes: "Axes", outcomes: Sequence[Outcome]) -> None:
    """Draw nDCG@10 of each group, as Figure 4 does, or the mean L2 if no set was searched."""
    names = [outcome.name for outcome in outcomes]
    searched = all(outcome.ndcg for outcome in outcomes)
    for mode in MODES if searched else ():
        axes.plot(names, [outcome.mean_ndcg(mode) for outcome in outcomes], "o", markersize=9, label=mode)
    if searched:
        axes.axhline(outcomes[0].mean_ndcg("teacher"), color="black", linestyle="--", label="teacher")
    else:
        axes.plot(names, [outcome.l2["all"] for outcome in outcomes], "o", markersize=9, label="student")
    axes.set(xlabel="training texts", ylabel="nDCG@10 (%), mean of the sets" if searched else "mean L2, held-out texts")
    axes.margins(0.15)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=3)


if __name__ == "__main__":
    main(Study("sources", variants, draw), __doc__)
