"""What a measurement is: a name, a row type, and functions that measure the rows and present them.

The command line, the report, the model card, the gallery of cards and the reading of ``results/`` iterate the registry
(`leaf_st.evaluation.measurements.registry`). A new measurement is one module and one line of the registry.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from leaf_st.evaluation.rows import read_as

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

R = TypeVar("R")


@dataclass(frozen=True)
class Table:
    """A table of a report or a card. A cell is the text that the reader sees.

    Attributes:
        name: File name of the CSV, without the suffix.
        header: Names of the columns.
        rows: Cells, one list per row.
        left: Number of leading columns with words; the others contain numbers.
        strong: Indices of the rows that summarise others.
        caption: Title of the table.
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    strong: frozenset[int] = field(default=frozenset())
    caption: str = ""

    def __post_init__(self) -> None:
        """Check that each row has a cell for each column."""
        assert all(len(row) == len(self.header) for row in self.rows), self.name


@dataclass(frozen=True)
class Figure:
    """A figure of a report. A card shows the same rows as tables and never draws the figure.

    Attributes:
        name: Text for readers who cannot see the figure; unique on its page.
        draw: Function that draws the figure on an empty matplotlib figure.
        caption: What the figure shows.
        size: Width and height in inches of 96 pixels.
    """

    name: str
    draw: "Callable[[Canvas], None]"
    caption: str
    size: tuple[float, float] = (4.8, 3.2)


@dataclass(frozen=True)
class Section:
    """How a measurement presents its rows.

    Attributes:
        text: Paragraphs.
        figures: Figures.
        tables: Tables that are shown in full.
        folded: Tables that open on a click; the first one is open.
        incomplete: Sentences that name what the rows lack. A report shows them beside the command of the measurement; a
            card does not.
    """

    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    incomplete: Sequence[str] = ()


@dataclass(frozen=True)
class Argument:
    """An argument of a command.

    Attributes:
        flag: Name as argparse takes it, such as ``model`` or ``--data``.
        options: Further keywords of ``add_argument``.
    """

    flag: str
    options: Mapping[str, Any] = field(default_factory=dict)


MODEL_HELP = "student: run folder, model folder, name that `leaf-st models` lists, or hub id"
MODEL_ARGUMENT = Argument("model", {"metavar": "MODEL", "help": MODEL_HELP})
RUN_ARGUMENT = Argument("model", {"metavar": "RUN", "help": "run folder with a trained model and its store"})
TEACHER_ARGUMENT = Argument(
    "--teacher", {"help": "teacher: folder or hub id (default: the teacher that the student learned from)"}
)


def data_argument(default: str = "the sets of the recipe that exist") -> Argument:
    """Return the argument ``--data``: BEIR folders, or the ``default``."""
    text = (
        "BEIR folders to search; overwrites the earlier results of this measurement, including other sets (default: "
        f"{default})"
    )
    return Argument("--data", {"type": Path, "nargs": "+", "default": [], "metavar": "FOLDER", "help": text})


@dataclass(frozen=True)
class Measurement(Generic[R]):
    """A measurement of a student.

    Attributes:
        name: Name on the command line; the rows are in ``results/NAME.json``.
        row: Row type, a dataclass or a pydantic model.
        title: Heading of its section.
        help: Help text of its command.
        command: Words after ``leaf-st`` that measure the rows, such as ``("measure", "compression")``.
        table: Formats the rows for the terminal.
        section: Presents at least one row in a report and on a card.
        arguments: Arguments of the command.
        measure: Measures the rows and writes them to the results folder with `write_rows`. It takes the parsed
            arguments; ``output`` is the results folder. None if another command writes the rows.
        words: Arguments of the command that measures the rows again, without the model. Names of sets are replaced by
            their folders where the recipe names them.
        needs: What the command needs, shown where nothing was measured.
        on_card: Whether the section is on the model card.
        shareable: Whether the rows may be published. Rows that quote texts of others may not.
        before_pull: Checks the name of a model before the model is pulled into a folder. None for a command that writes
            no files into the model folder, and so needs no local one.
        upgrade: Converts the JSON of an earlier version to a list of rows.
    """

    name: str
    row: type[R]
    title: str
    help: str
    command: tuple[str, ...]
    table: Callable[[Sequence[R]], str]
    section: Callable[[Sequence[R]], Section]
    arguments: tuple[Argument, ...] = ()
    measure: Callable[[argparse.Namespace], Sequence[R]] | None = None
    words: Callable[[Sequence[R]], Sequence[str]] = lambda rows: ()
    needs: str = ""
    on_card: bool = True
    shareable: bool = True
    before_pull: Callable[[str], None] | None = None
    upgrade: Callable[[Any], Any] = lambda rows: rows

    @property
    def file(self) -> str:
        """Name of the file of the rows in a results folder."""
        return f"{self.name}.json"

    def read(self, results: Path) -> list[R]:
        """Return the rows in the folder ``results``; an empty list if the file does not exist.

        Raises:
            InputError: If the file contains anything else.
        """
        path = results / self.file
        expected = f"a JSON list of measurements ({self.row.__name__})"
        return read_as(path, list[self.row], expected, self.upgrade) if path.exists() else []  # type: ignore[name-defined]
