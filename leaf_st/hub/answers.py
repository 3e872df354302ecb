"""Answers of the hub that its client cannot read: a page of a proxy in place of JSON, or JSON of another form."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]

P = ParamSpec("P")
T = TypeVar("T")

# huggingface_hub does not check answers, so an unexpected one fails where its content is used. RuntimeError and
# NameError come from the threads that upload large files.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, NameError)


class AnswerError(Exception):
    """An answer of the hub that huggingface_hub cannot use; the cause is the error of huggingface_hub."""


def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of ``call``, a call of huggingface_hub and nothing else.

    An error in leaf_st itself must keep its type and traceback, so ``call`` must contain no code of leaf_st.

    Raises:
        AnswerError: If huggingface_hub cannot use the answer.
    """
    try:
        return call(*args, **kwargs)
    except (HTTPError, OSError, HFValidationError):  # no answer, an error with a status, or a wrong name
        raise
    except _UNREADABLE as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        raise AnswerError(f"{type(root).__name__}: {' '.join(str(root).split())}") from error
