"""The command that estimates before a training how well a teacher can be distilled: screen."""

import argparse
from dataclasses import replace
from pathlib import Path

from leaf_st.cli.arguments import SubParsers, at_least_1
from leaf_st.cli.console import quieten
from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import load_recipe, override
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec

_STEPS = (1000, 10_000)
_PLACEHOLDER = (0,)  # layers that are replaced before the student is built, unless the settings name them


def add_commands(commands: SubParsers) -> None:
    """Add the command with its arguments and its function."""
    parser = commands.add_parser("screen", help="estimate in minutes how well a teacher can be distilled")
    parser.add_argument("teacher", metavar="TEACHER", help="hub id or folder of the teacher, or a recipe file (.py)")
    parser.add_argument("--texts", metavar="FILE", help="training texts (default: the recipe's)")
    parser.add_argument("--backbone", metavar="MODEL", help="student's backbone (default: the teacher or the recipe's)")
    parser.add_argument(
        "--layers",
        metavar="N,N",
        help="layers of the backbone to keep (default: the recipe's; without a recipe, half of the teacher's, or all "
        "of --backbone's)",
    )
    parser.add_argument(
        "--steps", type=at_least_1, nargs="+", default=_STEPS, metavar="N", help="training steps (default: 1000 10000)"
    )
    parser.add_argument(
        "--sample", type=at_least_1, metavar="N", help="number of texts to embed (default: 5120, or 2560 with an API)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    parser.set_defaults(func=_screen)


def _screen(options: argparse.Namespace) -> None:
    settings = [*options.set]
    given = {"texts.source": options.texts, "student.backbone": options.backbone, "student.layers": options.layers}
    settings += [f"{key}={value}" for key, value in given.items() if value is not None]
    if options.teacher.endswith(".py"):
        recipe = load_recipe(Path(options.teacher), settings)
    else:
        recipe = _recipe_of_model(options, settings)
    from leaf_st.pipeline.screen import screen
    from leaf_st.pipeline.screening.runs import measured_runs
    from leaf_st.pipeline.screening.table import format_screening

    quieten()
    print(format_screening(screen(recipe, options.sample), measured_runs(), options.steps))


def _recipe_of_model(options: argparse.Namespace, settings: list[str]) -> Recipe:
    if options.texts is None:
        raise InputError("--texts: expected a file of texts with a model as TEACHER, found none: give --texts FILE")
    recipe = Recipe(name="screen", teacher=TeacherSpec(model=options.teacher), student=StudentSpec(layers=_PLACEHOLDER))
    recipe = override(recipe, settings)
    if any(setting.startswith("student.layers=") for setting in settings):
        return recipe
    layers = None
    if recipe.student.backbone is None and recipe.student.start is None:
        from leaf_st.pipeline.screen import half_of_the_layers

        quieten()
        layers = half_of_the_layers(recipe.teacher)
    return replace(recipe, student=replace(recipe.student, layers=layers))
