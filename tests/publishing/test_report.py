import json
import os
import re
import shlex
import shutil
import statistics
import sys
from pathlib import Path
from xml.etree import ElementTree

import forked
import pytest
from page import Page

from leaf_st.cli.main import build_parser, main
from leaf_st.errors import InputError
from leaf_st.publishing.report.report import write_report
from leaf_st.sealed import read_sealed, write_sealed

EACH = ("alignment", "compression", "index", "latency", "margin", "models", "samples", "tasks", "training")


def _page(measured):
    return Page(write_report(measured).read_text(encoding="utf-8"))


def _rows(measured, name):
    return read_sealed(measured / "results" / f"{name}.json")


def _write(measured, name, rows):
    (measured / "results" / f"{name}.json").write_text(json.dumps(rows))  # without checksums, as earlier versions did


@pytest.fixture(scope="module")
def page(whole):
    return _page(whole)


@pytest.fixture(scope="module")
def empty(trained, tmp_path_factory):
    """A run of which nothing but its training is known."""
    folder = tmp_path_factory.mktemp("empty") / "a run"
    (folder / "results").mkdir(parents=True)
    for name in ("recipe.json", "results/training.json"):
        shutil.copy(trained.folder / name, folder / name)
    return folder


def test_a_run_that_an_earlier_version_recorded_has_a_report(measured):
    record = read_sealed(measured / "recipe.json")
    record["resolved"]["student"]["revision"] = "refs/pr/2"  # without a backbone
    record["resolved"]["training"]["arguments"]["data_seed"] = record["arguments"]["data_seed"] = 173
    write_sealed(measured / "recipe.json", record)
    text = _page(measured).text
    assert "layers 0, 2" in text
    assert "data_seed" not in text


def _require_nothing_is_asked_for(page):
    assert not {"script", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert not name.startswith("on"), (tag, name, value)
        assert "url(" not in (value or "").replace("url(#", ""), (tag, name, value)
    assert "url(" not in page.css
    assert "@import" not in page.css


def test_the_page_is_whole_and_asks_for_nothing(page):
    _require_nothing_is_asked_for(page)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    links = [value[1:] for _, name, value in page.attributes if name == "href" and value.startswith("#")]
    clips = [found for _, _, value in page.attributes for found in re.findall(r"url\(#(.*?)\)", value or "")]
    assert {*links, *clips} <= set(ids)
    assert page.tags.count("svg") == 1 + 2 + 1 + 2 + 2 + 2
    assert "not measured" not in page.text
    assert "matplotlib" not in page.text


def test_each_figure_is_a_file_too(page, whole):
    files = sorted((whole / "report" / "figures").glob("*.svg"))
    assert len(files) == page.tags.count("svg")
    for path in files:
        text = path.read_text()
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert {name.strip() for name in re.findall(r"var\((.*?)\)", text)} <= set(re.findall(r"(--[\w-]+):", text))
        assert not re.search(r"url\((?!#)|href=\"(?!#)", text)


def test_the_head_says_what_the_results_say(page, whole):
    tasks, sizes = (
        {row[key]: row for row in _rows(whole, name)} for name, key in (("tasks", "mode"), ("models", "role"))
    )
    for mode in ("standard", "asymmetric"):
        kept = 100 * tasks[mode]["score"] / tasks["teacher"]["score"]
        scores = f"{tasks[mode]['score']:.2f} of the teacher's {tasks['teacher']['score']:.2f}, letters"
        assert re.search(rf"Retention, {mode} {kept:.1f}% .{{20,60}}; {scores} \(95 % interval \d.* to \d", page.text)
    teacher, student = (f"{sizes[role]['parameters'] / 1000:.1f}K" for role in ("teacher", "student"))
    assert f"Size {student} parameters; the teacher has {teacher}" in page.text
    rates = {}
    for row in _rows(whole, "latency"):
        if (row["backend"], row["side"]) == ("torch float32", "query"):
            rates.setdefault(row["model"], []).append(row["batch_size"] / statistics.median(row["seconds"]))
    teacher, student = (statistics.fmean(rates[name]) for name in ("teacher", "student"))
    assert f"Queries {student / teacher:.1f}x as fast: {student:,.0f} a second, the teacher {teacher:,.0f}" in page.text
    (alignment,) = _rows(whole, "alignment")
    assert f"mean L2 {alignment['l2']:.4f} and cosine {alignment['cosine']:.4f} to the teacher on 6" in page.text
    assert "9 steps in " in page.text
    assert f"in the vector space of {_record(whole)['resolved']['teacher']['model']}: layers 0, 2" in page.text


def _record(measured):
    return read_sealed(measured / "recipe.json")


def test_every_table_can_be_had_as_it_is(page):
    assert list(page.downloads.values()) == page.tables
    # Numbers before Arabic text are read from the right.
    assert page.attributes.count(("td", "dir", "auto")) == page.tags.count("td")
    names = ["tasks", "training", "alignment", "baseline", "compression", "index", "margin", "latency"]
    names += [*(f"sample-{number}" for number in range(1, 6)), "recipe", "teacher", "versions"]
    assert list(page.downloads) == [f"tiny-{name}.csv" for name in names]


def test_the_tables_hold_the_rows(page, whole):
    tables = {name.removeprefix("tiny-").removesuffix(".csv"): rows for name, rows in page.downloads.items()}
    scores = {row["mode"]: f"{row['score']:.2f}" for row in _rows(whole, "tasks")}
    assert tables["tasks"][1][:5] == ["letters", "nDCG@10", scores["teacher"], scores["standard"], scores["asymmetric"]]
    history = _rows(whole, "training")
    validated = [(f"{row['step']:,}", f"{row['eval_loss']:.4f}") for row in history if "eval_loss" in row]
    assert [(row[0], row[3]) for row in tables["training"][1:]] == validated
    trained = {str(row["step"]): f"{row['loss']:.4f}" for row in history if "loss" in row}
    assert all(row[2] == trained[row[0]] for row in tables["training"][1:])
    for row in _rows(whole, "compression"):
        line = next(line for line in tables["compression"] if line[:2] == [str(row["dimension"]), row["precision"]])
        place = tables["compression"][0].index(row["mode"])
        assert (line[2], line[place]) == (f"{row['bytes']:,}", f"{row['score']:.2f}")
    for row in _rows(whole, "index"):
        width = "exact" if row["expansion"] is None else str(row["expansion"])
        line = next(line for line in tables["index"] if line[:2] == [row["precision"], width])
        side = "teacher's" if row["mode"] == "teacher" else "student's"
        assert line[tables["index"][0].index(f"recall@10, {side}")] == f"{row['recall']:.1f}"
    for row in _rows(whole, "margin"):
        line = next(line for line in tables["margin"] if line[0] == row["checkpoint"])
        assert f"{row['score']:.2f}" in line[2:]
    assert {row[0] for row in tables["latency"][1:]} == {"teacher", "student"}
    for name, version in _record(whole)["versions"].items():
        assert [name, version] in tables["versions"]
    assert ["training.arguments.max_steps", "9"] in tables["recipe"]


def test_samples_stand_side_by_side(page, whole):
    rows = _rows(whole, "samples")
    first = [row for row in rows if row["query"] == rows[0]["query"]]
    table = page.downloads["tiny-sample-1.csv"]
    assert table[0] == ["", "teacher", "standard", "asymmetric"]
    for row in first:
        cell = table[row["rank"]][table[0].index(row["mode"])]
        assert cell == f"{row['score']:.3f} {'✓ ' if row['grade'] else ''}{row['text']}"
    found = {mode: {row["document"] for row in first if row["mode"] == mode} for mode in table[0][1:]}
    shared = ", ".join(f"{mode} {len(found[mode] & found['teacher'])}" for mode in ("standard", "asymmetric"))
    assert f"“{first[0]['asked']}” (letters). Shared with the teacher's 10 documents: {shared}." in page.text


def test_what_is_missing_is_named_with_the_command_that_makes_it(empty, search_set):
    page = _page(empty)
    _require_nothing_is_asked_for(page)
    run, teacher = shlex.quote(str(empty)), _record(empty)["resolved"]["teacher"]["model"]
    assert f"leaf-st evaluate {run} --teacher {teacher} --tasks {search_set}" in page.codes
    for what in ("alignment", "compression", "index", "margin", "latency", "samples"):
        assert f"leaf-st measure {what} {run}" in page.codes
    assert f"leaf-st export {run}" in page.codes
    kept = "--set save_total_limit=10 --set save_steps=0.1 --set eval_steps=0.1"
    assert any(code.startswith(f"leaf-st run RECIPE.py {kept} ") for code in page.codes)
    for code in page.codes[:-1]:
        assert build_parser().parse_args(shlex.split(code)[1:]).func
    assert {name.removeprefix("tiny-") for name in page.downloads} == {
        f"{name}.csv" for name in ("training", "recipe", "teacher", "versions")
    }


def test_without_the_recipe_s_sets_a_folder_is_asked_for(measured):
    record = _record(measured)
    record["resolved"]["evaluate_on"] = ["nowhere"]
    (measured / "recipe.json").write_text(json.dumps(record))
    for name in ("compression", "tasks"):
        (measured / "results" / f"{name}.json").unlink()
    codes = _page(measured).codes
    assert f"leaf-st measure compression {shlex.quote(str(measured))} --data FOLDER" in codes
    assert any(code.endswith("--tasks NanoBEIR") for code in codes)


def test_a_task_in_one_mode_takes_nothing_from_the_head(measured):
    rows = _rows(measured, "tasks")
    before = re.findall(r"Retention, \w+ [\d.]+%", _page(measured).text)
    (further,) = [{**row, "set": "further"} for row in rows if row["mode"] == "standard"]
    _write(measured, "tasks", [*rows, further])
    text = _page(measured).text
    assert re.findall(r"Retention, \w+ [\d.]+%", text) == before
    assert len(before) == 2
    assert text.count("letters, of 2 that were measured") == 2


def test_what_the_head_lacks_is_named_below_it(few):
    (few / "results" / "models.json").unlink()
    _write(few, "tasks", [row for row in _rows(few, "tasks") if row["mode"] == "standard"])
    page = _page(few)
    assert "Size \N{EN DASH} parameters: not measured" in page.text
    assert "Retention, asymmetric \N{EN DASH} of the teacher's score: not measured" in page.text
    assert "Not measured: teacher, asymmetric mode." in page.text
    assert sum(code.startswith("leaf-st evaluate ") for code in page.codes) == 1 + 2  # one made what is there


def test_earlier_results_without_a_histogram_lack_the_figure_alone(measured):
    (row,) = _rows(measured, "alignment")
    _write(measured, "alignment", [{key: row[key] for key in ("set", "rows", "l2", "cosine")}])
    page = _page(measured)
    assert f"{row['l2']:.4f}" in page.text
    assert f"leaf-st measure alignment {shlex.quote(str(measured))}" in page.codes


def test_words_of_others_stay_words(few):
    evil = '<script>alert("1")</script></td></table>$x$ \ud800 & \'"'
    samples, tasks = _rows(few, "samples"), _rows(few, "tasks")
    _write(few, "samples", [{**row, "text": evil, "asked": evil} for row in samples])
    _write(few, "tasks", [{**row, "set": '"><b onclick="x">'} for row in tasks])
    page = _page(few)
    _require_nothing_is_asked_for(page)
    assert "b" not in page.tags
    assert page.tables[0][1][0] == '"><b onclick="x">'
    assert '<script>alert("1")</script></td></table>$x$ ? & \'"' in page.text
    assert list(page.downloads.values()) == page.tables


def test_several_types_have_means_of_their_own(few):
    tasks = _rows(few, "tasks")
    alike = [{**row, "set": "alike", "type": "STS", "metric": "cosine_spearman", "score": 50} for row in tasks[:2]]
    assert [row["mode"] for row in alike if row["mode"] != "asymmetric"] == ["teacher"]
    alike[1]["mode"] = "standard"
    _write(few, "tasks", [*tasks, *alike])
    page = _page(few)
    assert [row[0] for row in page.tables[0]] == [
        "type (tasks)",
        "Retrieval (1)",
        "STS (1)",
        "mean of 2 types",
        "mean of 2 tasks",
    ]
    assert page.tables[1][2][:3] == ["alike", "cosine spearman", "50.00"]
    assert "no queries and documents, so no asymmetric mode" in page.text


def test_the_demo_s_speeds_are_shown_where_no_latency_was_measured(few):
    _write(few, "speed", {"queries": {"teacher": 100.0, "student": 250.0}})
    page = _page(few)
    assert "Queries 2.5x as fast: 250 a second, the teacher 100" in page.text
    assert page.downloads["tiny-speed.csv"][1] == ["queries", "100.0", "250.0", "2.50x"]


def test_texts_of_the_paper_are_shown_with_their_licences(few):
    record = _record(few)
    record["sources"] = {"fineweb": {"dataset": "HuggingFaceFW/fineweb", "commit": "abc", "licence": "odc-by"}}
    (few / "recipe.json").write_text(json.dumps(record))
    assert _page(few).downloads["tiny-texts.csv"][1] == ["fineweb", "HuggingFaceFW/fineweb", "abc", "odc-by"]


@pytest.mark.parametrize("name", EACH)
def test_a_damaged_file_is_named_and_an_earlier_report_stays(measured, name):
    earlier = measured / "report" / "report.html"
    earlier.parent.mkdir()
    earlier.write_text("earlier")
    for content in ("{", "{}", "[1]", '[{"set": "one"}]', "\0", "[" * 99_999):
        (measured / "results" / f"{name}.json").write_text(content)
        with pytest.raises(InputError, match=rf"results/{name}\.json: expected a JSON list of measurements"):
            write_report(measured)
    assert earlier.read_text() == "earlier"
    assert list(earlier.parent.iterdir()) == [earlier]


@pytest.mark.parametrize("name", ["compression", "index", "models", "samples", "tasks"])
def test_results_of_another_model_are_refused(measured, name):
    rows = _rows(measured, name)
    assert rows[-1]["model"] == "local/tiny"
    _write(measured, name, [*rows[:-1], {**rows[-1], "model": "local/other"}])
    with pytest.raises(
        InputError, match=rf"results/{name}\.json contains results of local/other, not of local/tiny: move"
    ):
        write_report(measured)


def test_results_of_another_training_are_refused(measured):
    rows = _rows(measured, "models")
    _write(measured, "models", [*rows[:-1], {**rows[-1], "revision": "0"}])
    with pytest.raises(InputError, match="results of several students with the same name"):
        write_report(measured)
    _write(measured, "models", [*rows[:-1], {**rows[-1], "parameters": 7}])
    with pytest.raises(InputError, match=r"latency\.json begins with student of [\d,]+ parameters, .* has 7"):
        write_report(measured)


def test_results_twice_are_refused(measured):
    rows = _rows(measured, "compression")
    _write(measured, "compression", [*rows, rows[0]])
    with pytest.raises(InputError, match="results: letters was measured twice"):
        write_report(measured)


def test_rows_that_lack_others_are_refused(measured):
    _write(measured, "margin", [row for row in _rows(measured, "margin") if row["mode"] != "teacher"])
    with pytest.raises(InputError, match=r"results: the rows of margin do not belong together .* measure them again"):
        write_report(measured)


def test_only_a_run_has_a_report(whole, tmp_path, capfd):
    for folder in (tmp_path / "none", tmp_path, whole / "model"):
        with pytest.raises(SystemExit) as ended:
            main(["report", str(folder)])
        written = capfd.readouterr()
        assert ended.value.code == 2
        assert re.fullmatch(r"leaf-st: .*: expected .* name the folder of a.* run\n", written.err)
        assert not (folder / "report").exists()


def test_a_damaged_record_is_one_line(measured, capfd):
    (measured / "recipe.json").write_text("{")
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(measured)])
    assert "recipe.json is damaged" in capfd.readouterr().err


def test_without_matplotlib_its_extra_is_named(measured, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'leaf-st\[plots\]'"):
        write_report(measured)
    assert not (measured / "report").exists()


def test_the_commands_say_where_it_is(whole, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "results" / "alignment.json").unlink()
    main(["measure", "alignment", str(folder)])
    assert _rows(folder, "alignment") == _rows(whole, "alignment")
    main(["report", str(folder)])
    said = capsys.readouterr().out
    assert f"saved in {folder / 'results' / 'alignment.json'}" in said
    assert said.endswith(f"the report is {folder / 'report' / 'report.html'}\n")
    assert Path(folder / "report" / "report.html").is_file()


def _report_of_a_notebook(folder):
    assert "matplotlib" not in sys.modules  # matplotlib reads the variable when it is imported
    os.environ["MPLBACKEND"] = "module://some_notebook.backend"
    main(["report", str(folder)])


def test_the_backend_of_a_notebook_does_not_stop_the_report(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    done = forked.run(_report_of_a_notebook, tmp_path / "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run" / "report" / "report.html").is_file()


def test_settings_of_the_user_s_matplotlib_do_not_change_the_report(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "run")
    page = tmp_path / "run" / "report" / "report.html"
    write_report(tmp_path / "run")
    plain = page.read_text()
    import matplotlib as mpl

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "2024-05-01")
    main(["report", str(tmp_path / "run")])
    assert page.read_text() == plain
    with mpl.rc_context({"text.usetex": True, "axes.facecolor": "red"}):
        write_report(tmp_path / "run")
    assert page.read_text() == plain
