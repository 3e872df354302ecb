"""Sections of a report or a card: what a measurement shows, and the commands that measure its rows."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import is_beir
from leaf_st.evaluation.measurements.measurement import Measurement, Section
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES
from leaf_st.publishing.results import Results
from leaf_st.run_folder import RESULTS


@dataclass(frozen=True)
class Missing:
    """A measurement that was not made.

    Attributes:
        text: What is missing, as a sentence.
        command: The command that measures it; empty if the rows are a by-product of another command.
        needs: What the command needs.
    """

    text: str
    command: str
    needs: str = ""


@dataclass(frozen=True)
class PageSection:
    """A section of a page.

    Attributes:
        id: Anchor.
        title: Heading.
        content: Text, figures and tables.
        command: The command that measured the rows; empty if no command of the package did.
        missing: Measurements that were not made.
    """

    id: str
    title: str
    content: Section
    command: str = ""
    missing: Sequence[Missing] = ()


def measured_section(results: Results, measurement: Measurement[Any]) -> PageSection:
    """Return the section of a measurement that has rows.

    Raises:
        InputError: If the rows do not belong together.
    """
    with name_folder_in_errors(results, measurement.name):
        content = measurement.section(results.rows(measurement))
        command = reproducing_command(results, measurement) if measurement.measure else ""
    missing = [Missing(text, measuring_command(results, measurement)) for text in content.incomplete]
    return PageSection(measurement.name, measurement.title, content, command, missing)


def unmeasured_section(results: Results, measurement: Measurement[Any]) -> PageSection:
    """Return the section of a measurement without rows: the command that measures it, and what the command needs."""
    command = measuring_command(results, measurement) if measurement.measure else ""
    missing = Missing("Not measured.", command, measurement.needs)
    return PageSection(measurement.name, measurement.title, Section(), missing=[missing])


@contextmanager
def name_folder_in_errors(results: Results, name: str) -> Iterator[None]:
    """Name the results folder in an error about the rows of the measurement ``name``.

    Each row may be valid although another row that belongs to it is missing.
    """
    folder = results.run / RESULTS
    try:
        yield
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    except (LookupError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{folder}: the rows of {name} do not belong together ({error!r}): measure them again"
        ) from error


def reproducing_command(results: Results, measurement: Measurement[Any]) -> str:
    """Return the command that measures the rows of ``measurement`` again."""
    folders = {Path(name).name: name for name in results.recipe.evaluate_on}
    words = measurement.words(results.rows(measurement))
    return _line(*measurement.command, str(results.run), *(folders.get(word, word) for word in words))


def measuring_command(results: Results, measurement: Measurement[Any]) -> str:
    """Return the command that measures ``measurement``.

    Tasks are the sets of the recipe that exist on this machine, or NanoBEIR. The user replaces FOLDER by a
    retrieval set.
    """
    words = [*measurement.command, str(results.run)]
    flags = {argument.flag for argument in measurement.arguments}
    sets = [name for name in results.recipe.evaluate_on if Path(name).exists()]
    if "--tasks" in flags:
        teacher = results.recipe.teacher
        words += ["--teacher", teacher.name] if teacher.embeds_new_texts else ["--modes", *STUDENT_MODES]
        words += ["--tasks", *(sets or ["NanoBEIR"])]
    elif "--data" in flags and not any(is_beir(Path(name)) for name in sets):
        words += ["--data", "FOLDER"]
    return _line(*words)


def nanobeir_command(results: Results) -> str:
    """Return the command that evaluates the student on public sets in all modes."""
    return _line("evaluate", str(results.run), "--tasks", "NanoBEIR", "--modes", *ROLES)


def _line(*words: str) -> str:
    # A line break in a name would end the code block with the command.
    return shlex.join(["leaf-st", *(" ".join(word.split()) for word in words)])
