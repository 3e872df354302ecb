"""A card says what the results say, is read by the hub's own library, and its code runs."""

import json
import re
import shutil
import sys
from pathlib import Path

import mteb
import pytest
import yaml
from hub_account import REPO
from huggingface_hub import ModelCard, parse_eval_result_entries
from mteb.results import TaskResult

from leaf_st.cli.main import build_parser, main
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.results import retention_intervals
from leaf_st.evaluation.tasks.encoder import model_meta
from leaf_st.evaluation.tasks.queries import QUERY_SCORES
from leaf_st.hub.manifest import read_manifest
from leaf_st.models.identity import Identity
from leaf_st.publishing.card.card import card_text
from leaf_st.publishing.gallery import add_run, model_cards, write_model_cards
from leaf_st.publishing.prepare import make_folder
from leaf_st.publishing.results import strip_paths
from leaf_st.recipe import ApiSpec, Recipe, StudentSpec, TeacherSpec
from leaf_st.sealed import read_sealed
from leaf_st.zoo import MINILM, ZOO

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def own(whole, tmp_path):
    """A measured run of one's own, with its model."""
    return shutil.copytree(whole, tmp_path / "runs" / "tiny", ignore=shutil.ignore_patterns("store", "checkpoints"))


def _rows(run, name="tasks"):
    return read_sealed(run / "results" / f"{name}.json")


def _write(run, rows, name="tasks"):
    (run / "results" / f"{name}.json").write_text(json.dumps(rows))  # without checksums, as earlier versions did


def _record(run, change):
    _change(run / "recipe.json", change)


def _change(path, change):
    record = read_sealed(path)
    change(record)
    path.write_text(json.dumps(record))


def _head(text):
    return ModelCard(text).data


def _blocks(text, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def _cells(text):
    lines = (line for line in text.splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_hub_s_library_reads_the_head(own):
    data = _head(card_text(own, REPO))
    assert (data.library_name, data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    assert {"sentence-transformers", "leaf"} <= set(data.tags)
    standard = [row for row in _rows(own) if row["mode"] == "standard"]
    found = {(of.dataset_name, of.metric_type): of.metric_value for of in data.eval_results}
    assert found == {(row["set"], row["metric"]): round(row["score"], 2) for row in standard}
    assert data.to_dict()["model-index"][0]["name"] == "tiny"


def test_the_numbers_are_those_of_the_results(own):
    text = card_text(own, REPO)
    scores = {row["mode"]: row["score"] for row in _rows(own)}
    intervals = retention_intervals(TASKS.read(own / "results"))
    kept = [
        f"{100 * scores[mode] / scores['teacher']:.1f}% ({intervals[mode][0]:.1f} to {intervals[mode][1]:.1f})"
        for mode in ("standard", "asymmetric")
    ]
    assert ["letters", "nDCG@10", *(f"{scores[mode]:.2f}" for mode in ROLES), *kept] in _cells(text)
    for row in _rows(own, "models"):
        assert any(cells[0] == row["role"] and cells[2] == f"{row['parameters']:,}" for cells in _cells(text))
    assert f"mean L2 {_rows(own, 'alignment')[0]['l2']:.4f}" in text
    for row in _rows(own, "compression"):
        assert any(cells[:2] == [str(row["dimension"]), row["precision"]] for cells in _cells(text))


def test_each_table_has_the_command_that_made_it(own, search_set):
    _write(own, [{**row, "texts": str(search_set)} for row in _rows(own, "latency")], "latency")
    commands = [line for block in _blocks(card_text(own, REPO), "bash") for line in block.splitlines()]
    assert commands == [
        "leaf-st evaluate tiny --tasks letters --modes teacher standard asymmetric",
        "leaf-st measure baseline tiny --data letters",
        "leaf-st measure compression tiny --data letters",
        "leaf-st measure index tiny --data letters",
        "leaf-st measure margin tiny --data letters",
        "leaf-st measure latency tiny --texts letters",
    ]
    for line in commands:
        assert build_parser().parse_args(line.split()[1:]).func


def test_no_folder_of_this_machine_is_named(own, tiny_teacher_folder):
    for asymmetric in (False, True):
        text = card_text(own, REPO, asymmetric=asymmetric)
        assert str(tiny_teacher_folder.parent) not in text
        assert "/tmp" not in text
        assert str(Path.home()) not in text


@pytest.mark.parametrize("asymmetric", [False, True])
def test_no_published_file_names_a_folder_of_this_machine(own, tiny_teacher_folder, search_set, asymmetric):
    _as_registered(own, mteb.get_task("SciFact").metadata.revision)
    # As one is that began from a model in a folder, and whose texts are no longer here.
    _change(
        own / "model" / "recipe.json",
        lambda record: record["resolved"]["student"].update(start="~/mine/start", layers=None),
    )
    record = json.loads((own / "model" / "recipe.json").read_text())
    named = [record["resolved"]["texts"]["source"], str(tiny_teacher_folder), str(search_set), "~/mine/start"]
    assert all(json.dumps(name) in json.dumps(record) for name in named)
    make_folder(own, REPO, asymmetric=asymmetric, without_results=False)
    folders = {str(own.parent), str(Path.home()), "~/mine", *(str(Path(name).parent) for name in named[:3])}
    files = [path for place in ("publish", "mteb-results") for path in (own / place).rglob("*") if path.is_file()]
    assert {"recipe.json", "README.md", "SciFact.yaml"} <= {path.name for path in files} or asymmetric
    for path in files:
        assert not [folder for folder in folders if folder.encode() in path.read_bytes()], path
    published = json.loads((own / "publish" / "recipe.json").read_text())["resolved"]
    assert published["teacher"]["model"] == tiny_teacher_folder.name
    assert (published["texts"]["source"], published["evaluate_on"]) == ("texts.jsonl", ["letters"])
    assert published["student"]["start"] == "start"


def test_words_of_others_stay_words(own):
    evil = 'a|b\n---\n# <script>alert("1")</script> [x](http://y) `c` **d** $e$ &amp; \ud800'
    _write(own, [{**row, "set": evil} for row in _rows(own)])
    text = card_text(own, REPO)
    assert _head(text).eval_results[0].dataset_name.startswith("a|b")
    (line,) = (cells for cells in _cells(text) if cells[0].startswith("a\\|b"))
    assert len(line) == 7
    body = text.partition("\n# tiny")[2]
    assert not re.search(r"^(---|# <)", body, re.MULTILINE)
    outside = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
    for raw in ("<script>", "[x]", "`c`", "**d**", "$e$", " &amp; "):
        assert raw not in outside.replace("&amp;amp;", "")


def test_the_asymmetric_card_is_of_both(own):
    text = card_text(own, REPO, asymmetric=True)
    (result,) = _head(text).eval_results
    (row,) = (row for row in _rows(own) if row["mode"] == "asymmetric")
    assert (result.metric_value, result.metric_name) == (round(row["score"], 2), "ndcg_at_10 (asymmetric)")
    assert "contains two models" in text
    assert "onnxruntime" not in text


def test_without_results_a_card_has_to_be_asked_for(own, capsys):
    (own / "results" / "tasks.json").unlink()
    with pytest.raises(SystemExit, match="2"):
        main(["card", str(own), "--repo-id", REPO])
    assert "expected results of tasks for the card, found none: measure some with" in capsys.readouterr().err
    shutil.rmtree(own / "results")
    main(["card", str(own), "--repo-id", REPO, "--without-results"])
    text = capsys.readouterr().out
    assert "The model has not been measured on any task." in text
    assert _head(text).eval_results is None


def test_a_card_needs_nothing_that_draws(whole, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = card_text(whole, REPO)
    assert "### Compression" in text
    assert "### Latency" in text


def test_bad_names_and_folders_are_refused(own, tmp_path):
    with pytest.raises(InputError, match="expected OWNER/NAME"):
        card_text(own, "tiny")
    (own / "model" / "modules.json").unlink()
    for folder in (own, tmp_path, tmp_path / "none"):
        with pytest.raises(
            InputError, match=f"{folder}: expected a run folder with recipe.json and a trained model in model"
        ):
            card_text(folder, REPO)


def test_a_run_of_before_is_published_with_its_requirement(own):
    config = "config_sentence_transformers.json"
    needed = json.loads((own / "model" / config).read_text())["requirements"]
    _change(own / "model" / config, lambda values: values.pop("requirements"))
    _change(own / "model" / "recipe.json", lambda record: record.pop("file_checksums"))
    make_folder(own, REPO, asymmetric=False, without_results=False)
    assert json.loads((own / "publish" / config).read_text())["requirements"] == needed


def test_a_changed_digit_of_a_score_is_named(own):
    path = own / "results" / "tasks.json"
    content, score = bytearray(path.read_bytes()), b'"score": '
    content[content.index(score) + len(score)] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path} is damaged"):
        make_folder(own, REPO, asymmetric=False, without_results=False)
    assert not (own / "publish").exists()


def test_results_of_another_model_are_refused(own):
    _write(own, [{**row, "model": "local/other"} for row in _rows(own)])
    with pytest.raises(InputError, match="results of local/other"):
        make_folder(own, REPO, asymmetric=False, without_results=False)
    assert not (own / "publish").exists()


TEACHER, BACKBONE = "Snowflake/snowflake-arctic-embed-m-v1.5", "nreimers/MiniLM-L6-H384-uncased"


@pytest.mark.parametrize(
    ("texts", "expected"), [(["fineweb", "lotte"], "apache-2.0"), (["fineweb", "msmarco"], "other"), ([], "apache-2.0")]
)
def test_the_licence_is_the_teacher_s_unless_texts_are_not_open(own, texts, expected):
    licences = {"fineweb": "odc-by", "lotte": "mit", "msmarco": "non-commercial research (MS MARCO terms)"}

    def change(record):
        record["resolved"]["teacher"]["model"] = TEACHER
        record["resolved"]["student"] |= {"backbone": BACKBONE, "layers": None}
        record["commits"] = {"teacher": "0" * 40, "student": "1" * 40}
        record["resolved"]["texts"]["source"] = "paper" if texts else "mine.parquet"
        record["sources"] = {
            name: {"dataset": f"of/{name}", "commit": "abc", "licence": licences[name]} for name in texts
        }

    _record(own, change)
    text = card_text(own, REPO)
    data = _head(text)
    assert (data.license, data.language, data.base_model) == (expected, "en", [BACKBONE, TEACHER])
    assert data.datasets == ([f"of/{name}" for name in texts] or None)
    for name in texts:
        assert [name, f"of/{name}", "abc", licences[name]] in _cells(text)
    limits = text.partition("## Limits")[2]
    assert ("commercial use may not be allowed: msmarco" in limits) == (expected == "other")
    assert (data.license_name, data.license_link) == (
        ("restricted-training-texts", f"https://huggingface.co/{REPO}#licences")
        if expected == "other"
        else (None, None)
    )
    assert ("licences of some training texts are not recorded" in limits) == (not texts)


def test_the_code_that_loads_a_teacher_with_its_own_code_says_so(own):
    def change(record):
        record["resolved"]["teacher"] |= {"model": TEACHER, "trust_remote_code": True}
        record["commits"] = {"teacher": "0" * 40}

    assert "trust_remote_code=True" not in card_text(own, REPO)
    _record(own, change)
    loading = f'SentenceTransformer(\n    "{TEACHER}",\n    trust_remote_code=True,\n)'
    assert loading in card_text(own, REPO)


def test_the_code_ends_texts_as_the_student_learned(own):
    _record(own, lambda record: record["teacher"].update(revision="0123456789abcdef with </s>"))
    assert "teacher.tokenizer.add_eos_token = True  # texts end with </s>\n" in card_text(own, REPO)


@pytest.mark.parametrize("width", [384, 1536])
def test_given_vectors_of_another_width_are_not_of_the_named_model(own, width):
    def change(record):
        record["resolved"]["teacher"] |= {"model": MINILM, "vector_column": "v"}
        record["resolved"]["student"] |= {"backbone": BACKBONE, "layers": None}
        record["commits"] = {"teacher": "0" * 40, "student": "1" * 40}
        record["teacher"]["dimension"] = width

    _record(own, change)
    data = _head(card_text(own, REPO))
    expected = ("apache-2.0", [BACKBONE, MINILM]) if width == 384 else ("unknown", [BACKBONE])
    assert (data.license, data.base_model) == expected


@pytest.mark.parametrize("prompt", ["", "text: "])
def test_the_code_embeds_documents_with_the_prompt_of_the_recipe(own, prompt):
    # Without prompt=, sentence-transformers takes the prompt in the teacher's files.
    assert "prompt=" not in card_text(own, REPO)
    _record(own, lambda record: record["resolved"]["teacher"].update(prompts={"document": prompt}))
    config = own / "model" / "config_sentence_transformers.json"
    _change(config, lambda values: values.update(prompts={"query": "", "document": prompt}))
    assert f'"The moon has no air."], prompt="{prompt}")  # once' in card_text(own, REPO)


_TYPES = {"query": "search_query", "document": "search_document"}


@pytest.mark.parametrize(
    ("teacher", "is_prompted"),
    [
        (None, True),
        (TeacherSpec(api=ApiSpec("http://127.0.0.1:1/v1", "embed", input_type=_TYPES)), False),
        (TeacherSpec(api=ApiSpec("http://127.0.0.1:1/v1", "embed"), prompts={"query": "search_query: "}), True),
        (TeacherSpec(api=ApiSpec("http://127.0.0.1:1/v1", "embed", input_type=dict.fromkeys(_TYPES, "text"))), True),
        (TeacherSpec(ensemble=[TeacherSpec("a"), TeacherSpec("b")], prompts={"query": "search_query: "}), False),
    ],
    ids=["model", "api", "api without types", "api with one type", "ensemble"],
)
def test_only_a_teacher_that_gets_the_student_s_prompts_is_to_be_used_with_them(own, teacher, is_prompted):
    config = own / "model" / "config_sentence_transformers.json"
    prompts = {kind: f"{name}: " for kind, name in _TYPES.items()}
    _change(config, lambda values: values.update(prompts=prompts))
    if teacher is not None:
        recipe = Recipe("tiny", teacher=teacher, student=StudentSpec(backbone=BACKBONE))
        values = json.loads(json.dumps(recipe.to_dict()))
        _record(own, lambda record: record["resolved"].update({name: values[name] for name in ("teacher", "student")}))
    assert ("encoded with the prompts above" in card_text(own, REPO)) is is_prompted


@pytest.mark.parametrize(("model_type", "shown"), [("bert", True), ("t5", False)])
def test_transformers_js_is_shown_where_it_reads_the_graph(own, model_type, shown):
    (own / "model" / "onnx").mkdir()
    (own / "model" / "onnx" / "model.onnx").touch()
    _change(own / "model" / "config.json", lambda config: config.update(model_type=model_type))
    assert ("transformers.js" in card_text(own, REPO)) is shown


def test_a_student_that_goes_on_names_its_texts_and_those_before(own):
    source = {"dataset": "mteb/msmarco", "commit": None, "licence": "non-commercial research (MS MARCO terms)"}
    _record(own, lambda record: record.update(sources={"msmarco": source}))
    text = card_text(own, REPO)
    assert ["msmarco", "mteb/msmarco", "-", source["licence"]] in _cells(text)
    assert "Training texts: texts.jsonl. The run does not record the licence of these texts" in text
    limits = text.partition("## Limits")[2]
    assert "commercial use may not be allowed: msmarco" in limits
    assert "licences of some training texts are not recorded" in limits


def test_a_licence_that_nobody_knows_is_not_made_up(own):
    data = _head(card_text(own, REPO))
    assert (data.license, data.language) == ("unknown", None)


def test_a_folder_is_no_model_of_the_hub(own):
    assert _head(card_text(own, REPO)).base_model is None  # "teacher" would be somebody else's
    _record(own, lambda record: record["resolved"]["student"].update(backbone=BACKBONE, layers=None))
    assert _head(card_text(own, REPO)).base_model == [BACKBONE]


def test_a_name_of_the_zoo_is_a_model_of_the_hub(own):
    def change(record):
        record["resolved"]["teacher"]["model"] = record["teacher"]["teacher"] = "leaf-ir"
        record["resolved"]["student"] |= {"backbone": BACKBONE, "layers": None}
        record["commits"] = {"teacher": "0" * 40, "student": "1" * 40}

    _record(own, change)
    text, of_zoo = card_text(own, REPO), ZOO["leaf-ir"]
    assert (_head(text).base_model, _head(text).license) == ([BACKBONE, of_zoo.hub_id], "apache-2.0")
    assert f'SentenceTransformer(\n    "{of_zoo.hub_id}",\n    revision="{of_zoo.revision}",\n)' in text
    assert "leaf-ir" not in text.replace(of_zoo.hub_id, "")


def test_a_run_folder_with_a_name_of_the_zoo_is_no_model_of_the_hub(own, tmp_path, monkeypatch):
    start = own.parent / "leaf-ir"
    start.mkdir()

    def change(record):
        record["resolved"]["student"] |= {"start": str(start), "layers": None}
        record["commits"]["student"] = None

    _record(own, change)
    text = card_text(own, REPO)
    assert (_head(text).base_model, _head(text).license) == (None, "unknown")
    assert "leaf-ir, trained further" in text
    assert "MongoDB" not in text
    add_run(own, REPO, tmp_path / "cards")
    shutil.rmtree(own.parent)
    monkeypatch.chdir(tmp_path)
    assert dict(model_cards(tmp_path / "cards"))["tiny"] == text


def test_a_folder_of_another_machine_is_no_model_of_the_hub(own):
    def change(record):
        for part in ("recipe", "resolved"):
            record[part]["teacher"]["model"] = "models/teacher"
        record["teacher"]["teacher"] = "models/teacher"
        record["commits"] = {"teacher": None}

    for folder in (own, own / "model"):
        _record(folder, change)
    assert _head(card_text(own, REPO)).base_model is None
    make_folder(own, REPO, asymmetric=False, without_results=False)
    for path in (own / "publish").glob("*.*"):
        assert b"models/teacher" not in path.read_bytes(), path


def test_a_model_of_a_package_is_a_model_of_the_hub(own):
    _record(own, lambda record: record["resolved"]["teacher"].update(model=MINILM))
    assert read_sealed(own / "recipe.json")["commits"] == {"teacher": None}  # a package has no commit
    assert _head(card_text(own, REPO)).base_model == [MINILM]


def _as_registered(run, revision, score=0.5):
    """Let the first row be of mteb's SciFact, with mteb's own results beside it."""
    task = mteb.get_task("SciFact")
    (row,) = (row for row in _rows(run) if row["mode"] == "standard")
    row = {**row, "set": "SciFact", "score": 100 * score}
    scores = {"test": {"default": {"main_score": score, "ndcg_at_10": score, QUERY_SCORES: [score, score]}}}
    result = TaskResult.from_task_results(task, scores, evaluation_time=1.0)
    result.dataset_revision = revision
    cache = mteb.ResultCache(run / "results" / "mteb")
    cache.save_to_cache(result, model_meta(Identity(row["model"], row["revision"])))
    _write(run, [*_rows(run), row])
    return result


def test_results_on_tasks_of_mteb_go_where_leaderboards_read_them(own):
    task = mteb.get_task("SciFact").metadata
    result = _as_registered(own, task.revision)
    make_folder(own, REPO, asymmetric=False, without_results=False)
    written = own / "publish" / ".eval_results"
    assert [path.name for path in written.iterdir()] == ["SciFact.yaml"]
    entries = parse_eval_result_entries(yaml.safe_load((written / "SciFact.yaml").read_text()))
    theirs = result._to_hf_benchmark_result().root  # the ids that mteb gives its tasks on the hub
    assert [(of.dataset_id, of.task_id, of.value, of.dataset_revision) for of in entries] == [
        (of.dataset.id, of.dataset.task_id, of.value, of.dataset.revision) for of in theirs
    ]
    indexed = {of.dataset_name: of for of in _head((own / "publish" / "README.md").read_text()).eval_results}
    assert indexed["MTEB SciFact"].dataset_type == task.dataset["path"]
    assert indexed["letters"].dataset_type == "letters"
    tag = read_manifest(own / "publish" / "leaf_st.json").tag
    there = own / "mteb-results" / "results" / "us__tiny" / tag
    assert {path.name for path in there.iterdir()} == {"SciFact.json", "model_meta.json"}
    meta = json.loads((there / "model_meta.json").read_text())
    size = next(row for row in _rows(own, "models") if row["role"] == "student")
    assert (meta["name"], meta["revision"], meta["embed_dim"]) == (REPO, tag, size["dimension"])
    (scores,) = TaskResult.from_disk(there / "SciFact.json").scores["test"]
    assert scores.keys() == {"main_score", "ndcg_at_10", "hf_subset", "languages", "mteb_version"}
    assert scores["main_score"] == 0.5


def test_an_incomplete_file_of_mteb_is_no_result(own, caplog):
    _as_registered(own, mteb.get_task("SciFact").metadata.revision)
    (path,) = (own / "results" / "mteb").rglob("SciFact.json")
    path.write_text(path.read_text()[:100])  # as after a kill
    make_folder(own, REPO, asymmetric=False, without_results=False)
    assert not (own / "publish" / ".eval_results").exists()
    assert [message.partition(",")[0] for message in caplog.messages if "mteb" in message] == [
        "SciFact: expected mteb's result on the data of its task SciFact"
    ]


def test_a_local_set_with_the_name_of_a_task_stays_local(own, caplog):
    _as_registered(own, "another")
    (own / "mteb-results").mkdir()
    make_folder(own, REPO, asymmetric=False, without_results=False)
    assert not (own / "publish" / ".eval_results").exists()
    assert not (own / "mteb-results").exists()
    assert "MTEB SciFact" not in (own / "publish" / "README.md").read_text()
    assert [message.partition(",")[0] for message in caplog.messages if "mteb" in message] == [
        "SciFact: expected mteb's result on the data of its task SciFact"
    ]


def test_its_python_runs(own, tiny_teacher_folder, tmp_path, monkeypatch):
    # A folder of that name comes before the hub.
    shutil.copytree(own / "model", tmp_path / REPO)
    shutil.copytree(tiny_teacher_folder, tmp_path / "teacher")
    blocks = _blocks(card_text(own, REPO))
    monkeypatch.chdir(tmp_path)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "card", "exec"), {})


def test_a_run_s_card_can_be_made_again_without_the_run(own, tmp_path, monkeypatch):
    cards = tmp_path / "cards"
    expected = card_text(own, REPO)
    add_run(own, REPO, cards)
    shutil.rmtree(own)
    monkeypatch.chdir(tmp_path)
    assert dict(model_cards(cards))["tiny"] == expected
    assert cards / "tiny.md" in write_model_cards(cards)
    assert (cards / "tiny.md").read_text() == expected
    kept = {path.relative_to(cards / "tiny").as_posix() for path in (cards / "tiny").rglob("*") if path.is_file()}
    assert kept >= {"recipe.json", "hosted.json", "results/tasks.json", "results/latency.json"}
    assert "results/samples.json" not in kept
    assert all(str(tmp_path.parent.parent) not in (cards / "tiny" / name).read_text() for name in kept)


def test_a_student_that_reads_less_than_its_teacher_says_so(own):
    sentence = "the student reads the first 64 tokens of a text, the teacher 128: the end of a longer text"
    assert sentence not in card_text(own, REPO)
    sizes = _rows(own, "models")
    assert [row["length"] for row in sizes] == [64, 64]
    _write(own, [{**row, "length": {"teacher": 128, "student": 64}[row["role"]]} for row in sizes], "models")
    assert sentence in card_text(own, REPO)


def test_the_card_of_a_pair_names_the_length_of_each_side(own):
    sizes = _rows(own, "models")
    _write(own, [{**row, "length": {"teacher": 128, "student": 64}[row["role"]]} for row in sizes], "models")
    assert "reads only the first 64 tokens of a text." in card_text(own, REPO)
    pair = "reads only the first 64 tokens of a query, and the first 128 tokens of a document."
    assert pair in card_text(own, REPO, asymmetric=True)
    (own / "model" / "sentence_bert_config.json").unlink()  # as a static student, which has no limit
    assert "- The model reads only the first 128 tokens of a document." in card_text(own, REPO, asymmetric=True)
    assert "reads only" not in card_text(own, REPO)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (r"C:\Users\me\acme\tickets.parquet", "tickets.parquet"),
        ("clients/acme/tickets.parquet", "tickets.parquet"),
        ("hf://datasets/us/texts/train.parquet", "hf://datasets/us/texts/train.parquet"),
        ("us/model", "us/model"),
        ("find: a/b.txt", "find: a/b.txt"),
        (
            'http://127.0.0.1:1/v1 m {"cut": "512 tokens of /home/me/tok", "dimensions": 8} probes 0',
            'http://127.0.0.1:1/v1 m {"cut": "512 tokens of tok", "dimensions": 8} probes 0',
        ),
        ('h {"cut": "512 tokens of us/model"} probes 0', 'h {"cut": "512 tokens of us/model"} probes 0'),
    ],
)
def test_paths_of_another_machine_or_folder_are_names_too(value, expected):
    assert strip_paths({"texts": [value]}) == {"texts": [expected]}


def test_a_long_prompt_is_no_path(tmp_path):
    prompt = f"{'Find passages that answer the query; ' * 8}and/or related ones: "  # a name has at most 255 bytes
    assert strip_paths({"prompts": [prompt, str(tmp_path)]}) == {"prompts": [prompt, tmp_path.name]}


def test_results_in_the_model_folder_are_not_published(own):
    (own / "model" / "results" / "model").mkdir(parents=True)
    (own / "model" / "results" / "model" / "samples.json").write_text("[]")
    make_folder(own, REPO, asymmetric=False, without_results=False)
    assert not (own / "publish" / "results").exists()
    assert (own / "publish" / "modules.json").is_file()


@pytest.mark.parametrize(
    ("teacher", "name"),
    [
        (TeacherSpec(api=ApiSpec("http://127.0.0.1:1/v1", "embed")), "embed"),
        (TeacherSpec(ensemble=[TeacherSpec("a"), TeacherSpec("b")]), r"a \+ b"),
    ],
    ids=["api", "ensemble"],
)
def test_a_teacher_that_is_not_one_model_has_no_card_of_a_pair(own, teacher, name):
    values = json.loads(json.dumps(Recipe("tiny", teacher=teacher, student=StudentSpec(backbone=BACKBONE)).to_dict()))
    _record(own, lambda record: record["resolved"].update({name: values[name] for name in ("teacher", "student")}))
    assert card_text(own, REPO)
    with pytest.raises(InputError, match=rf"^teacher {name} cannot be saved as one model: leave out --asymmetric"):
        card_text(own, REPO, asymmetric=True)
