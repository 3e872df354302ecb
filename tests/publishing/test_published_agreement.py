"""Agreement on the report, which quotes the user's texts, and on what is published, which does not."""

import shutil

from page import Page

from leaf_st.cli.main import main
from leaf_st.evaluation.measurements.agreement import AGREEMENT
from leaf_st.evaluation.measurements.lost_queries import LOST_QUERIES
from leaf_st.evaluation.modes import ROLES
from leaf_st.publishing.card.card import card_text
from leaf_st.publishing.gallery import add_run
from leaf_st.publishing.report.report import write_report


def test_the_report_quotes_queries_and_nothing_that_is_published_does(whole, tmp_path, capsys):
    left_out = shutil.ignore_patterns(
        "checkpoints", "report", "parts", "baseline*", "compression*", "index*", "margin*"
    )
    run = shutil.copytree(whole, tmp_path / "tiny", ignore=left_out)
    main(["measure", "agreement", str(run)])
    assert "recall@10" in capsys.readouterr().out
    hits = LOST_QUERIES.read(run / "results")
    assert hits
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert f"“{hits[0].asked}” (held-out texts)" in page.text
    assert f"leaf-st measure agreement {run}" in page.codes
    assert "tiny-agreement-by-group.csv" in page.downloads
    assert page.downloads["tiny-lost-query-held-out-texts-1.csv"][0] == ["", *ROLES]
    assert (run / "report" / "figures" / "agreement-held-out-texts.svg").is_file()
    card = card_text(run, "me/tiny")
    assert "### Agreement with the teacher" in card
    assert "recall@100" in card
    add_run(run, "me/tiny", tmp_path / "cards")
    published = [path for path in (tmp_path / "cards").rglob("*") if path.is_file()]
    assert AGREEMENT.file in {path.name for path in published}
    for text in {text for hit in hits for text in (hit.asked, hit.text)}:
        assert text not in card
        assert not any(text in path.read_text(encoding="utf-8") for path in published)
