"""What this stage hands to the next one."""

from typing import NamedTuple

from leaf_st.recipe import Kind


class Text(NamedTuple):
    """One training text.

    Attributes:
        text: The text itself, without a prompt.
        kind: Which of the teacher's prompts goes before it.
    """

    text: str
    kind: Kind
