"""What a section of the report is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from leaf_st.publishing.figures import Drawn
from leaf_st.publishing.table import Table


@dataclass(frozen=True)
class Missing:
    """A measurement that was not made.

    Attributes:
        what: It, as the subject of a sentence.
        command: What makes it.
        note: What the command needs.
    """

    what: str
    command: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        id: Anchor.
        title: Its heading.
        text: Paragraphs.
        command: What made it; empty if that has none, or did not happen here.
        figures: Figures.
        tables: Tables, whole.
        folded: Tables that open at a click, the first one open.
        missing: What was not measured.
    """

    id: str
    title: str
    text: Sequence[str] = ()
    command: str = ""
    figures: Sequence[Drawn] = ()
    tables: Sequence[Table] = ()
    folded: Sequence[Table] = ()
    missing: Sequence[Missing] = ()
