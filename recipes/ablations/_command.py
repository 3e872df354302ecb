"""The command line arguments of all ablations, and their common recipe."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leaf_st.cli.console import messages_shown, quieten
from leaf_st.errors import exit_on_error
from leaf_st.recipe import DOCSTRINGS, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.zoo import MINILM


@contextmanager
def exit_on_input_error(name: str) -> Iterator[None]:
    """Silence the libraries, and end the process on errors as `leaf-st` does."""
    quieten()
    with exit_on_error(name, "the same command resumes: finished embeddings and models are kept"), messages_shown(name):
        yield


def common_parser(description: str | None, output: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all studies share; ``output`` describes the default folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--texts", default=DOCSTRINGS, metavar="FILE", help="training texts (default: documentation strings)"
    )
    parser.add_argument("--teacher", default=MINILM, metavar="MODEL", help="teacher (default: %(default)s)")
    parser.add_argument("--backbone", metavar="MODEL", help="student's backbone (default: three layers of the teacher)")
    parser.add_argument("--samples", type=int, default=75_000, help="training samples (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--data", nargs="*", type=Path, default=[], metavar="FOLDER", help="BEIR folders to search (default: none)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help=f"run folder (default: {output})")
    parser.add_argument("--smoke", action="store_true", help="train each variant for two steps with tiny models")
    return parser


def common_recipe(name: str, options: argparse.Namespace) -> Recipe:
    """Return the recipe of all studies, without a number of steps."""
    return Recipe(
        name=name,
        # Queries have 14 tokens and documents 56 (at most 128), so queries are 60 % of the texts and 25 % of the work.
        texts=TextsSpec(source=options.texts, limit={"query": 60 * 1024, "document": 40 * 1024}),
        teacher=TeacherSpec(model=options.teacher, max_length=128),
        student=StudentSpec(backbone=options.backbone, layers=None if options.backbone else (0, 4, 5)),
        training=TrainingSpec(
            held_out_rows=1024,
            # Three times the paper's rates, because a run has 2,000 steps and not 6,000,000.
            end_learning_rate=3e-5,
            arguments={"learning_rate": 3e-4, "seed": options.seed},
        ),
    )
