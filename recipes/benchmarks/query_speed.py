"""Query speed: several models on one core, the same queries, plain `SentenceTransformer.encode`.

Command:  python recipes/benchmarks/query_speed.py MODEL [MODEL ...] --queries QUERIES.parquet [--batch-sizes 1 32]

A model is a folder or a hub id, loaded in float32. All take their turn in each round; the median over the rounds
counts. A static student has next to nothing to compute: its time goes into the tokenizer and into what
sentence-transformers does for each batch, so that the size of the batches decides.
"""

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core; read by the tokenizers when they first work

import argparse
from collections import Counter
from itertools import islice
from pathlib import Path

import torch

from leaf_st.evaluation.timing import encode_speed
from leaf_st.models.load import load_model
from leaf_st.recipe import TextsSpec
from leaf_st.texts.read import read_texts


def main() -> None:
    """Print a row for each model: parameters, and queries per second by batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="folder or hub id")
    parser.add_argument("--queries", type=Path, required=True, help="file of texts; those of kind query are taken")
    parser.add_argument("--limit", type=int, default=2048, help="queries at most")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32, 256, 1024], metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = TextsSpec(source=str(options.queries), kind="query", limit={"document": 0})
    queries = [row.text for row in islice(read_texts(spec, Counter()), options.limit)]
    models = {name: load_model(name) for name in options.models}
    speeds = [encode_speed(models, queries, options.rounds, size) for size in options.batch_sizes]
    width = max(map(len, models)) + 2
    print(f"{len(queries):,} queries, one core; queries per second in batches of")
    print(f"{'':{width}}{'parameters':>12}" + "".join(f"{size:>10,}" for size in options.batch_sizes))
    for name, model in models.items():
        parameters = sum(weight.numel() for weight in model.parameters()) / 1e6
        print(f"{name:{width}}{parameters:>11.1f}M" + "".join(f"{of[name]:>10,.0f}" for of in speeds))


if __name__ == "__main__":
    main()
