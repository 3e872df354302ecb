import json

import pytest
from huggingface_hub.errors import HFValidationError

from leaf_st.hub.answers import AnswerError, ask


def _raise(error):
    raise error


def test_an_answer_that_cannot_be_read_names_the_first_error():
    assert ask(json.loads, "[1]") == [1]
    with pytest.raises(AnswerError, match=r"^JSONDecodeError: Expecting value: line 1 column 1 \(char 0\)$"):
        ask(json.loads, "<html>")
    with pytest.raises(AnswerError, match=r"^KeyError: 'commitOid'$") as unreadable:
        ask(lambda: {}["commitOid"])
    assert isinstance(unreadable.value.__cause__, KeyError)


@pytest.mark.parametrize("error", [HFValidationError("a name"), ConnectionError("off"), FileNotFoundError("a file")])
def test_other_errors_keep_their_type(error):
    with pytest.raises(type(error)):
        ask(_raise, error)
