import pytest
from huggingface_hub import constants

from leaf_st.pipeline.default_texts import hub_answers, open_texts
from leaf_st.pipeline.run_texts import describe_texts
from leaf_st.recipe import DOCSTRINGS, PAPER
from leaf_st.texts.paper.fetch import closed_licences, selected_sources


@pytest.mark.parametrize("offline", [True, False])
def test_open_texts_of_the_hub_or_documentation_strings(offline, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    spec = open_texts(100, sentences=True)
    assert spec.sentences
    if offline:
        assert spec.source == DOCSTRINGS
        assert describe_texts(spec) == "documentation strings of the installed Python packages"
    else:
        assert (spec.source, spec.per_source) == (PAPER, 100)
        assert selected_sources(spec) == ["fineweb", "vocabulary", "lotte", "pubmedqa"]
        assert not closed_licences(spec)
        assert describe_texts(spec).startswith("HuggingFaceFW/fineweb, ")
        assert describe_texts(spec).endswith(", up to 100 texts each")


def test_a_hub_that_does_not_answer(monkeypatch):
    assert not hub_answers()  # the tests run with HF_HUB_OFFLINE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert not hub_answers()
