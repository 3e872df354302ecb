"""First stage: training texts, read from files or from this machine's documentation, clean and unique."""

from typing import NamedTuple

from leaf_st.recipe import Kind


class Text(NamedTuple):
    """One training text, as this stage passes it to the next stage.

    Attributes:
        text: The text, without a prompt.
        kind: The kind of the text, which selects the teacher's prompt.
    """

    text: str
    kind: Kind
