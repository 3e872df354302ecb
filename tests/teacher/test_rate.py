import time
from collections import Counter

import pytest

from leaf_st.teacher.rate import seconds_per_text
from leaf_st.texts.text import Text


class _Slow:
    """A teacher that takes a known time for each token; to what it embeds it adds nothing else."""

    def __init__(self, teacher):
        self.model, self.prompts, self.batch_size = teacher.model, teacher.prompts, 4
        self.seen = Counter()

    def embed(self, texts, kind):
        self.seen.update((text, kind) for text in texts)
        time.sleep(1e-4 * sum(len(text) + 2 for text in texts))  # the tiny tokenizer has a token for each letter


@pytest.fixture
def slow(local_teacher):
    return _Slow(local_teacher)


TEXTS = [Text("a" * (1 + number % 30), ("query", "document")[number % 2]) for number in range(60)]
EXPECTED = 1e-4 * sum(len(text.text) + 2 for text in TEXTS) / len(TEXTS)


def test_it_is_the_mean_over_all_texts(slow):
    assert seconds_per_text(slow, TEXTS) == pytest.approx(EXPECTED, rel=0.5)
    assert set(slow.seen) == {(text.text, text.kind) for text in TEXTS}


def test_a_part_of_them_tells_as_much(slow):
    found = seconds_per_text(slow, TEXTS, most=0.02)
    assert sum(slow.seen.values()) < len(TEXTS) / 2
    assert found == pytest.approx(EXPECTED, rel=0.5)
