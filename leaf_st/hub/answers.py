"""Answers of the hub that its client cannot read: a page of a proxy in place of JSON, or JSON of another form."""

import os
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]

from leaf_st.errors import cannot_write

P = ParamSpec("P")
T = TypeVar("T")

# huggingface_hub does not check answers, so an unexpected one fails where its content is used. RuntimeError and
# NameError come from the threads that upload large files.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, NameError)
_OF_SYSTEM = re.compile(r"\(os error (\d+)\)")  # how Rust, in which hf_xet is written, names an error of the system


class AnswerError(Exception):
    """An answer of the hub that huggingface_hub cannot use; the cause is the error of huggingface_hub."""


def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of ``call``, a call of huggingface_hub and nothing else.

    An error in leaf_st itself must keep its type and traceback, so ``call`` must contain no code of leaf_st.

    Raises:
        AnswerError: If huggingface_hub cannot use the answer.
        OSError: If hf_xet cannot write, such as to a full disk.
    """
    try:
        return call(*args, **kwargs)
    except (HTTPError, HFValidationError):  # no answer, an error with a status, or a wrong name
        raise
    except (OSError, *_UNREADABLE) as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        if found := _OF_SYSTEM.search(str(root)):
            local = OSError(number := int(found[1]), os.strerror(number), constants.HF_HUB_CACHE)
            if cannot_write(local):
                raise local from error
        if isinstance(error, OSError):
            raise
        raise AnswerError(f"{type(root).__name__}: {' '.join(str(root).split())}") from error
