"""Which texts to learn from (paper 2.1, Figure 4): queries, documents, definitions, or all of them.

Command:  python recipes/ablations/sources.py [--texts FILE] [--samples N] [--output DIR] [--smoke]
Result:   in README.md beside this file.

The groups are made equal in texts as well as in samples: as many random ones of each as the smallest group has. So no
group is read more often than another, and what differs is what the texts are. Definitions, which play the part of the
paper's Vocabulary, are told by the column `source` of a parquet file; where it names none that group is left out.
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
from leaf_st.teacher.shard import text_id
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts.read import read_texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEFINITIONS = ("wordnet_glosses", "wordnet_examples")  # of words, a line each


def groups(store: EmbeddingStore, rows: NDArray[np.int64], texts: TextsSpec) -> Mapping[str, NDArray[np.int64]]:
    """Return the rows of each group, as many random ones as the smallest has, in rising order.

    Raises:
        InputError: If one is empty.
    """
    kinds = np.array([text.kind for text in store.texts(rows)])
    defining = _ids_of_definitions(texts)
    defined = np.isin(np.concatenate(list(store.ids()))[rows], defining)
    found = {"queries": kinds == "query", "documents": (kinds == "document") & ~defined}
    if len(defining):
        found["definitions"] = (kinds == "document") & defined
    found["all"] = np.full(len(rows), True)
    counts = {name: int(chosen.sum()) for name, chosen in found.items()}
    _require_some(counts, texts)  # all of one may be held out
    fewest = min(counts.values())
    rng = np.random.default_rng(0)
    return {name: np.sort(rng.choice(rows[chosen], fewest, replace=False)) for name, chosen in found.items()}


def _ids_of_definitions(texts: TextsSpec) -> NDArray[np.int64]:
    """Return the `text_id` of each definition in a parquet file; of none where nothing says which they are."""
    path = Path(texts.source)
    if path.suffix != ".parquet" or not path.is_file():
        return np.empty(0, np.int64)
    try:
        if "source" not in pq.read_schema(path).names:
            return np.empty(0, np.int64)
        table = pq.read_table(path, columns=[texts.text_column, "source"], filters=[("source", "in", DEFINITIONS)])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"texts {path}: broken parquet ({error}): copy or make it anew") from error
    return np.array([text_id(text.strip()) for text in table[texts.text_column].drop_null().to_pylist()], np.int64)


def require_every_group(texts: TextsSpec) -> None:
    """Raise an `InputError` if a group is empty, before any text is embedded."""
    defining = set(_ids_of_definitions(texts).tolist())
    found = Counter(queries=0, documents=0, **({"definitions": 0} if defining else {}))
    for row in read_texts(texts, Counter()):
        document = "definitions" if text_id(row.text) in defining else "documents"
        found["queries" if row.kind == "query" else document] += 1
    _require_some(found, texts)


def _require_some(found: Mapping[str, int], texts: TextsSpec) -> None:
    """Raise an `InputError` if one of the groups is empty."""
    if empty := [name for name, count in found.items() if not count]:
        raise InputError(f"texts {texts.source}: expected some of every group, found no {empty[0]}: name other --texts")


def variants(setting: Setting) -> list[Variant]:
    texts = setting.run.recipe.texts
    definitions = len(_ids_of_definitions(texts)) > 0
    names = ["queries", "documents", *(["definitions"] if definitions else []), "all"]
    if not definitions:
        print(f"{texts.source} has no {' or '.join(DEFINITIONS)} in a column `source`: definitions are left out")

    def pick(store: EmbeddingStore, rows: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        return groups(store, rows, texts)[name]

    check = cache(partial(require_every_group, texts))
    return [
        setting.variant(name, change=f"rows of {name}", rows=partial(pick, name=name), check=check) for name in names
    ]


def draw(axes: "Axes", outcomes: Sequence[Outcome]) -> None:
    """Draw nDCG@10 of each group, as Figure 4 does, or the L2 by kind where nothing was searched."""
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
