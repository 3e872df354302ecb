"""The cards in model_cards/ are what the command makes.

`python -m leaf_st.publishing.gallery` writes them again.
"""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.results import by_type, retention
from leaf_st.evaluation.results_table import mean_lines
from leaf_st.publishing.gallery import model_cards
from leaf_st.publishing.paper_figures.published import published_results

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "model_cards"


def test_the_cards_are_those_of_the_command():
    made = dict(model_cards(CARDS))
    assert {path.stem for path in CARDS.glob("*.md")} == made.keys()
    assert made.keys() >= {"leaf-ir", "leaf-mt", "leaf-mini"}
    for name, text in made.items():
        assert (CARDS / f"{name}.md").read_text(encoding="utf-8") == text, "run python -m leaf_st.publishing.gallery"


@pytest.mark.parametrize("name", ["leaf-ir", "leaf-mt"])
def test_published_figures_have_their_source(name):
    text = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    data, measured = ModelCard(text).data, published_results(name)
    standard = [row for row in measured.rows(TASKS) if row.mode == "standard"]
    assert sorted(of.metric_value for of in data.eval_results) == sorted(row.score for row in standard)
    assert all(of.source_url == "https://arxiv.org/abs/2509.12539" for of in data.eval_results)
    assert len(data.to_dict()["model-index"][0]["results"]) == len(standard)
    assert "This package measured none of these figures." in text
    assert "commercial use may not be allowed" in text


def _means(name):
    return [float(cell) for cell in mean_lines(published_results(name).rows(TASKS))[-1][2:5]]


def test_the_means_are_those_that_the_paper_prints():
    # arXiv 2509.12539, Tables 2 and 3, and section 3 on what is retained.
    assert _means("leaf-ir") == pytest.approx([56.1, 53.9, 54.8], abs=0.05)
    assert _means("leaf-mt") == pytest.approx([66.3, 63.0, 64.1], abs=0.05)
    rows = published_results("leaf-mt").rows(TASKS)
    of_types = next(line for line in mean_lines(rows) if line[0] == "mean of 7 types")
    assert [float(cell) for cell in of_types[2:5]] == pytest.approx([62.0, 59.4, 60.1], abs=0.05)
    assert retention(published_results("leaf-ir").rows(TASKS)) == pytest.approx(
        {"standard": 96.1, "asymmetric": 97.7}, abs=0.1
    )
    printed = {"Reranking": (48.1, 46.9, 47.3), "Retrieval": (55.4, 47.3, 51.8)}
    for kind, expected in printed.items():
        cells = mean_lines(by_type(rows)[kind])[-1][2:5]
        assert [float(cell) for cell in cells] == pytest.approx(expected, abs=0.06)
