"""A measurement that is added to the registry appears on the command line, in report and card, and in the gallery."""

import shutil
from dataclasses import dataclass

import pytest
from hub_account import REPO
from page import Page

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements import registry
from leaf_st.evaluation.measurements.measurement import MODEL_ARGUMENT, Argument, Figure, Measurement, Section, Table
from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.rows import write_rows
from leaf_st.publishing.card.card import card_text
from leaf_st.publishing.gallery import add_run
from leaf_st.publishing.report.report import write_report


@dataclass(frozen=True)
class Hue:
    """How blue a student is."""

    set: str
    mode: Mode
    model: str
    degrees: float


def _measure(options):
    rows = [Hue("letters", "standard", "local/tiny", options.degrees)]
    write_rows(options.output / "hue.json", rows)
    return rows


def _cells(rows):
    return [[row.set, f"{row.degrees:.1f}"] for row in rows]


def _section(rows):
    def draw(canvas):
        canvas.subplots().plot([row.degrees for row in rows], "o")

    return Section(
        ["Hue in degrees."],
        [Figure("Hues of sets", draw, "One point for each set.")],
        [Table("hue", ["set", "degrees"], _cells(rows))],
    )


HUE = Measurement(
    name="hue",
    row=Hue,
    title="Hue",
    help="measure how blue a student is",
    command=("measure", "hue"),
    arguments=(MODEL_ARGUMENT, Argument("--degrees", {"type": float, "default": 240.0})),
    measure=_measure,
    table=lambda rows: "\n".join("  ".join(cells) for cells in _cells(rows)),
    section=_section,
    words=lambda rows: ["--degrees", f"{rows[0].degrees:g}"],
    needs="It needs a colour wheel.",
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registry, "MEASUREMENTS", (*registry.MEASUREMENTS, HUE))


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "runs" / "tiny", ignore=shutil.ignore_patterns("store", "checkpoints"))


def test_it_appears_everywhere(run, tmp_path, capsys):
    main(["measure", "hue", str(run), "--degrees", "225"])
    assert "letters  225.0" in capsys.readouterr().out
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert page.downloads["tiny-hue.csv"] == [["set", "degrees"], ["letters", "225.0"]]
    assert f"leaf-st measure hue {run} --degrees 225" in page.codes
    assert "Hue in degrees." in page.text
    assert (run / "report" / "figures" / "hues-of-sets.svg").is_file()
    card = card_text(run, REPO)
    assert "### Hue\n\nHue in degrees.\n\n```bash\nleaf-st measure hue tiny --degrees 225\n```" in card
    assert "| letters | 225.0 |" in card
    add_run(run, REPO, tmp_path / "cards")
    assert (tmp_path / "cards" / "tiny" / "results" / "hue.json").is_file()


def test_the_report_names_its_command_where_it_was_not_measured(run):
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert f"leaf-st measure hue {run}" in page.codes
    assert "Not measured. It needs a colour wheel." in page.text
    assert "### Hue" not in card_text(run, REPO)


def test_its_rows_are_checked_as_those_of_all_measurements(run):
    path = run / "results" / "hue.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"results/hue\.json: expected a JSON list of measurements"):
        write_report(run)
    write_rows(path, [Hue("letters", "standard", "local/other", 1.0)])
    with pytest.raises(InputError, match=r"hue\.json contains results of local/other, not of local/tiny"):
        write_report(run)
