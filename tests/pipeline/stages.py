"""A run without measurements; processes of their own import this module."""

from pathlib import Path

import torch

from leaf_st.pipeline.recipe_file import load_recipe
from leaf_st.pipeline.run import Run


def embed_and_train(recipe: str, run: str) -> None:
    """Embed and train as ``leaf-st run`` does, with one thread."""
    torch.set_num_threads(1)
    stages = Run(load_recipe(Path(recipe)), Path(run))
    stages.embed()
    stages.train()


class Stopped:
    """An engine whose process is stopped before it makes a shard."""

    is_whole = True

    def embed(self, processes, make):
        raise KeyboardInterrupt
