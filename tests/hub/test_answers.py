import errno
import json

import pytest
from huggingface_hub import constants
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


@pytest.mark.parametrize("kind", [RuntimeError, OSError])
def test_a_disk_that_gets_full_while_xet_downloads_is_an_error_of_the_disk(kind):
    with pytest.raises(OSError, match="No space left on device") as full:
        ask(_raise, kind("Data processing error: IO Error: No space left on device (os error 28)"))
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, constants.HF_HUB_CACHE)


@pytest.mark.parametrize(("error", "kind"), [(RuntimeError, AnswerError), (OSError, OSError)])
def test_a_connection_that_xet_lost_is_no_error_of_the_disk(error, kind):
    with pytest.raises(kind, match="Connection reset by peer"):
        ask(_raise, error("Network error: Connection reset by peer (os error 104)"))
