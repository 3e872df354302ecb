"""Query speed: several models on one core, with the same queries and plain `SentenceTransformer.encode`.

Command:  python recipes/benchmarks/query_speed.py MODEL [MODEL ...] --queries QUERIES.parquet [--batch-sizes 1 32]

MODEL is a folder or a hub id, loaded in float32. The models are timed alternately; the table shows the median over
the rounds. A static student computes almost nothing: the tokenizer and the overhead per batch take its time, so its
speed depends on the batch size.
"""

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core; the tokenizers read this variable at their first call

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch

from leaf_st.evaluation.timing import encode_speed
from leaf_st.models.load import load_model
from leaf_st.recipe import TextsSpec
from leaf_st.tables import aligned
from leaf_st.texts.read import read_texts


def main() -> None:
    """Print one row for each model: parameters, and queries per second by batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="folder or hub id")
    parser.add_argument("--queries", type=Path, required=True, help="file of texts; only rows of kind query count")
    parser.add_argument("--limit", type=int, default=2048, help="maximum number of queries")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32, 256, 1024], metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    spec = TextsSpec(source=str(options.queries), kind="query", limit={"document": 0})
    queries = [row.text for row in islice(read_texts(spec, Counter()), options.limit)]
    measured = measure_models({name: name for name in options.models}, queries, options.rounds, options.batch_sizes)
    print(f"{len(queries):,} queries, one core; queries per second in batches of")
    lines = [["", "parameters", *(f"{size:,}" for size in options.batch_sizes)]]
    for name, (parameters, rates) in measured.items():
        lines.append([name, f"{parameters / 1e6:.1f}M", *(f"{rate:,.0f}" for rate in rates.values())])
    print(aligned(lines))


def measure_models(
    models: Mapping[str, str], queries: Sequence[str], rounds: int, batch_sizes: Sequence[int]
) -> dict[str, tuple[int, dict[int, float]]]:
    """Return the parameters, and the queries per second on one core by batch size, of each model by name.

    Args:
        models: Folder or hub id by name.
        queries: The queries.
        rounds: Rounds of the timing.
        batch_sizes: Queries per batch.
    """
    torch.set_num_threads(1)
    loaded = {name: load_model(model, device="cpu") for name, model in models.items()}
    speeds = {size: encode_speed(loaded, queries, rounds, size) for size in batch_sizes}
    return {
        name: (
            sum(weight.numel() for weight in model.parameters()),
            {size: rates[name] for size, rates in speeds.items()},
        )
        for name, model in loaded.items()
    }


if __name__ == "__main__":
    main()
