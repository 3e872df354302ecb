"""What the commands of all ablations understand, and the recipe that they make of it."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging

from leaf_st.errors import exit_on_error
from leaf_st.recipe import DOCSTRINGS, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.zoo import MINILM

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
_OPEN_MIX = _DATA / "texts" / "open_mix.parquet"
_SETS = [_DATA / "retrieval" / name for name in ("cranfield", "nfcorpus", "nq_utd")]  # small, and of three kinds


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Quieten the libraries, and end the process as `leaf-st` does: in one line, and with 2, or 130 on Ctrl-C."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with exit_on_error(name, "the same command resumes: finished embeddings and models are kept"):
        yield


def common_parser(description: str | None, output: str) -> argparse.ArgumentParser:
    """Return a parser of what all studies understand, with ``output`` as their default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    texts = str(_OPEN_MIX) if _OPEN_MIX.is_file() else DOCSTRINGS
    parser.add_argument("--texts", default=texts, metavar="FILE", help="training texts (default: %(default)s)")
    parser.add_argument("--teacher", default=MINILM, metavar="MODEL", help="default: %(default)s")
    parser.add_argument("--backbone", metavar="MODEL", help="student's; by default layers 0, 4 and 5 of the teacher")
    parser.add_argument("--samples", type=int, default=75_000, help="texts that a variant reads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="of batches and starts (default: %(default)s)")
    sets = [folder for folder in _SETS if folder.is_dir()]
    parser.add_argument("--data", nargs="*", type=Path, default=sets, metavar="FOLDER", help="BEIR folders to search")
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"run folder (default: {output})")
    parser.add_argument("--smoke", action="store_true", help="two steps a variant with tiny models")
    return parser


def common_recipe(name: str, options: argparse.Namespace) -> Recipe:
    """Return what all studies train, but for the number of steps."""
    return Recipe(
        name=name,
        # Queries have 14 tokens, documents 56 of at most 128: three fifths of the texts are a quarter of the work.
        texts=TextsSpec(source=options.texts, limit={"query": 60 * 1024, "document": 40 * 1024}),
        teacher=TeacherSpec(model=options.teacher, max_length=128),
        student=StudentSpec(backbone=options.backbone, layers=None if options.backbone else (0, 4, 5)),
        training=TrainingSpec(
            held_out_rows=1024,
            # Three times the paper's rates, falling to a tenth as they do: a run is 2,000 steps and not 6,000,000.
            end_learning_rate=3e-5,
            arguments={"learning_rate": 3e-4, "seed": options.seed},
        ),
    )
