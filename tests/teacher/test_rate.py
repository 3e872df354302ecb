from collections import Counter

import numpy as np
import pytest

from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.rate import seconds_per_text
from leaf_st.texts.text import Text


class _Clocked(LocalTeacher):
    """A teacher that takes a second for each token, by a clock of its own."""

    def __init__(self, model):
        self.seen = Counter()
        self.now = 0.0
        super().__init__(model, "tiny", "0")
        self.batch_size = 4
        self.seen.clear()

    def encode_query(self, texts):
        self._count(texts, "query")

    def encode_document(self, texts):
        self._count(texts, "document")
        return np.ones((len(texts), 1))

    def _count(self, texts, kind):
        self.seen.update((text, kind) for text in texts)
        self.now += sum(len(text) + 2 for text in texts)  # the tiny tokenizer has a token for each letter


@pytest.fixture
def teacher(tiny_teacher, monkeypatch):
    clocked = _Clocked(tiny_teacher)
    monkeypatch.setattr("time.perf_counter", lambda: clocked.now)
    return clocked


TEXTS = [Text("a" * (1 + number % 30), ("query", "document")[number % 2]) for number in range(60)]
TOKENS = sum(len(text.text) + 2 for text in TEXTS)


def test_it_is_the_mean_over_all_texts(teacher):
    assert seconds_per_text(teacher, TEXTS, most=TOKENS) == pytest.approx(TOKENS / len(TEXTS))
    assert set(teacher.seen) == {(text.text, text.kind) for text in TEXTS}


def test_a_part_of_them_tells_as_much(teacher):
    assert seconds_per_text(teacher, TEXTS, most=TOKENS / 4) == pytest.approx(TOKENS / len(TEXTS))
    assert sum(teacher.seen.values()) < len(TEXTS) / 2


def test_the_first_batches_are_of_all_lengths(teacher):
    seconds_per_text(teacher, TEXTS, most=TOKENS / 4)
    lengths = [len(text) for text, _ in teacher.seen]
    assert min(lengths) <= 5
    assert max(lengths) >= 25
    assert sum(lengths) / len(lengths) == pytest.approx(15.5, abs=3)
