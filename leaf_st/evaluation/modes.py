"""Modes and precisions: which model embeds queries and documents, and how vectors are stored.

This module imports no library, so that the command line and the report can name modes without loading torch.
"""

from typing import Literal, get_args

from leaf_st.recipe import Kind

Mode = Literal["teacher", "standard", "asymmetric"]
Role = Literal["teacher", "student"]
Coding = Literal["float32", "int8", "binary"]  # see leaf_st.evaluation.ranking
Side = Kind | None  # None: a text that is neither query nor document, such as a sentence to classify

ROLES: dict[Mode, dict[Kind, Role]] = {
    "teacher": {"query": "teacher", "document": "teacher"},
    "standard": {"query": "student", "document": "student"},
    "asymmetric": {"query": "student", "document": "teacher"},
}
STUDENT_MODES: tuple[Mode, ...] = ("standard", "asymmetric")
CODINGS: tuple[Coding, ...] = get_args(Coding)
CODES = "int8 with a range per coordinate"  # parts of a measurement with other codes are measured again


def role_of(mode: Mode, side: Side) -> Role:
    """Return which model embeds ``side``; a text without a side is embedded as a document, as in a Router."""
    return ROLES[mode][side or "document"]
