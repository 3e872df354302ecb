import logging

import pytest
from huggingface_hub import constants

from leaf_st.pipeline.default_texts import hub_answers, open_texts
from leaf_st.recipe import DOCSTRINGS, PAPER
from leaf_st.texts.paper.fetch import chosen, closed_licences


@pytest.mark.parametrize("offline", [True, False])
def test_the_choice_is_reported(offline, monkeypatch, caplog):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with caplog.at_level(logging.INFO, logger="leaf_st"):
        spec = open_texts(100, sentences=True)
    assert spec.sentences
    if offline:
        assert spec.source == DOCSTRINGS
        assert "default texts: documentation strings" in caplog.text
    else:
        assert (spec.source, spec.per_source) == (PAPER, 100)
        assert chosen(spec) == ["fineweb", "vocabulary", "lotte", "pubmedqa"]
        assert not closed_licences(spec)
        assert "default texts: up to 100 texts each of HuggingFaceFW/fineweb, " in caplog.text


def test_a_hub_that_does_not_answer(monkeypatch):
    assert not hub_answers()  # the tests run with HF_HUB_OFFLINE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert not hub_answers()
