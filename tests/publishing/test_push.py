"""The command in a separate process with a real HF_ENDPOINT, and the inputs that it rejects beforehand."""

import json
import re
import shutil

import numpy as np
import pytest
from hub import run_python, serve
from hub_account import REPO, TOKEN, Account, at
from sentence_transformers import SentenceTransformer

import leaf_st
from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.evaluation.sizes import write_sizes
from leaf_st.models.identity import Identity
from leaf_st.models.load import load_model
from leaf_st.publishing import prepare as preparing
from leaf_st.publishing.prepare import prepare
from leaf_st.sealed import read_sealed, write_sealed

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

_BOTH = """
import sys
from leaf_st.cli.main import main
run, repo = sys.argv[1:]
main(["push", run, "--repo-id", repo, "--private", "--asymmetric"])
main(["pull", repo, "--output", "pulled"])
"""


def test_push_and_pull_by_the_command(run, tiny_teacher, tmp_path):
    account = Account(tmp_path / "hub")
    with serve({}, account=account) as served:
        served.faults.append(at("info", 429))
        done = run_python(served.url, tmp_path, "-c", _BOTH, run, REPO, HF_HUB_DISABLE_XET="1", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert served.faults[0].times == 0
    assert "the hub answered 429 Too Many Requests: next attempt in 1 seconds" in done.stderr
    assert re.search("^vectors +ok ", done.stdout, re.MULTILINE)
    assert "Router by sentence-transformers" in done.stdout
    tag = json.loads((run / "publish" / "leaf_st.json").read_text())["tag"]
    assert f"files sent to {served.url}/us/tiny; tagged {tag}" in done.stdout
    assert account.repositories[REPO].private
    for path in (run / "publish").rglob("*"):
        if path.is_file():
            assert (tmp_path / "pulled" / path.relative_to(run / "publish")).read_bytes() == path.read_bytes()
    pulled, trained = SentenceTransformer(str(tmp_path / "pulled"), device="cpu"), load_model(str(run / "model"))
    assert np.array_equal(pulled.encode_query(["a text"]), trained.encode_query(["a text"]))
    assert np.array_equal(pulled.encode_document(["a text"]), tiny_teacher.encode_document(["a text"]))
    assert TOKEN not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


@pytest.fixture
def unchecked(monkeypatch):
    """Skip the checks, which take seconds."""
    monkeypatch.setattr(preparing, "verify", lambda *_: [])


def _refused(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    written = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    return written[-1].removeprefix("leaf-st: ")


def test_a_dry_run_sends_nothing(hub, run, unchecked, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    main(["push", str(run), "--repo-id", REPO, "--dry-run"])
    written = capsys.readouterr().out
    assert hub.account.steps == []
    files = [path for path in (run / "publish").rglob("*") if path.is_file()]
    assert re.search(rf"^total +{sum(path.stat().st_size for path in files):,}$", written, re.MULTILINE)
    assert f"\ndry run: {len(files)} files for us/tiny (tag v" in written
    assert "; nothing was sent" in written


def _files_with(text, folder):
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.usefixtures("unchecked", "quick_graph")
def test_nothing_published_names_the_home_folder_or_the_token(hub, run, beir, tmp_path, monkeypatch, capfd):
    home = run.parents[1].parent  # the teacher of the run and the retrieval set are below this folder
    monkeypatch.setenv("HOME", str(home))
    moved = run.rename(run.parent / "my run")
    (moved / "results" / "tasks.json").unlink()  # typed in
    main(["evaluate", str(moved), "--tasks", str(beir)])
    main(["measure", "compression", str(moved), "--data", str(beir)])
    main(["export", str(moved), "--data", str(beir)])
    main(["report", str(moved)])
    main(["push", str(moved), "--repo-id", REPO])
    assert moved / "recipe.json" in _files_with(str(home), moved)  # a run resumes by the paths of this machine
    sent = hub.account.folder / REPO
    assert list(sent.rglob("recipe.json"))
    for folder in (sent, moved / "publish", moved / "report"):
        assert _files_with(str(home), folder) == []
    page = (moved / "report" / "report.html").read_text()
    beside = (moved.parent.relative_to(home)).as_posix()
    assert f"<span>~/&#39;{beside}/my</span> <span>run&#39;</span>" in page  # the shell expands a ~ before quotes
    assert _files_with(TOKEN, tmp_path) == []
    assert TOKEN not in "".join(capfd.readouterr())


def test_push_to_hub_does_the_same(hub, run, unchecked):
    done = leaf_st.push_to_hub(run, REPO, revision="next")
    assert hub.account.repositories[REPO].branches.keys() == {"main", "next"}
    assert leaf_st.push_to_hub(run, REPO, revision="next").sent == 0
    assert done.tag in hub.account.repositories[REPO].tags


def test_a_pull_request_by_the_command(hub, run, unchecked, capsys):
    hub.account.create(REPO)
    main(["push", str(run), "--repo-id", REPO, "--create-pr"])
    written = capsys.readouterr().out
    assert f"files sent to {hub.url}/us/tiny/discussions/1; push again without --create-pr after the merge" in written


def test_bad_input_is_one_line_and_creates_nothing(hub, run, tmp_path, capsys, unchecked):
    other = tmp_path / "other"
    other.mkdir()
    assert "expected a run folder with recipe.json and a trained model in model/, found no recipe.json" in _refused(
        capsys, "push", other, "--repo-id", REPO
    )
    assert "--repo-id tiny: expected OWNER/NAME" in _refused(capsys, "push", run, "--repo-id", "tiny")
    (run / "results" / "tasks.json").unlink()
    assert "--without-results" in _refused(capsys, "push", run, "--repo-id", REPO)
    assert hub.account.repositories == {}
    main(["push", str(run), "--repo-id", REPO, "--without-results"])
    assert "The model has not been measured on any task." in (run / "publish" / "README.md").read_text()
    main(["push", str(run), "--repo-id", REPO, "--without-results"])


def _with_teacher(run, folder):
    path = run / "model" / "recipe.json"
    record = read_sealed(path)
    record["resolved"]["teacher"]["model"] = str(folder)
    record["commits"] = {"teacher": None}
    write_sealed(path, record)


def test_a_missing_or_unfitting_teacher(hub, run, tmp_path, capsys):
    _with_teacher(run, tmp_path / "none")
    refused = _refused(capsys, "push", run, "--repo-id", REPO, "--asymmetric")
    assert refused.startswith("the teacher, which --asymmetric also publishes, cannot be loaded: teacher ")
    assert re.search(
        r"none, recorded in .*/model: expected the folder that the student learned from, found no", refused
    )
    assert "expected the name of a branch" in _refused(capsys, "push", run, "--repo-id", REPO, "--revision", "a b")
    narrow = shutil.copytree(run / "model", tmp_path / "narrow")
    from leaf_st.models.portable import save_portable
    from leaf_st.student.build import build_student

    save_portable(build_student(narrow, dimension=16, normalized=True, layers=(0,), device="cpu"), tmp_path / "narrow")
    _with_teacher(run, tmp_path / "narrow")
    refused = _refused(capsys, "push", run, "--repo-id", REPO, "--asymmetric")
    assert "teacher gives 16 dimensions, student gives 32" in refused
    assert hub.account.repositories == {}
    assert not (run / "publish").exists()


def test_results_of_other_weights_are_not_published(hub, run, capsys):
    other = load_model(str(run / "model"))
    write_sizes(run / "results", {"student": (Identity("local/tiny", "0123"), other)})
    refused = _refused(capsys, "push", run, "--repo-id", REPO)
    assert "results contains results of the student local/tiny (0123), not of local/tiny" in refused
    assert refused.endswith("move them away and measure again")
    assert hub.account.repositories == {}


@pytest.mark.parametrize("damage", ["dense", "prompts"])
def test_a_damaged_model_is_one_line(run, capsys, damage):
    if damage == "dense":
        shutil.rmtree(run / "model" / "2_Dense")
        for command in (["verify", run], ["push", run, "--repo-id", REPO, "--dry-run"]):
            assert "model/2_Dense/config.json, found none" in _refused(capsys, *command)
    else:
        (run / "model" / "config_sentence_transformers.json").write_text("{}")
        refused = _refused(capsys, "card", run, "--repo-id", REPO)
        assert "config_sentence_transformers.json: expected the key prompts, found none" in refused


@pytest.mark.parametrize(("file", "before"), [("model/model.safetensors", b"}}"), ("model/recipe.json", b'"name": "')])
def test_a_flipped_bit_is_named_and_not_published(file, before, hub, run, capsys):
    content = bytearray((run / file).read_bytes())
    content[content.index(before) + len(before)] ^= 1
    (run / file).write_bytes(content)
    refused = _refused(capsys, "push", run, "--repo-id", REPO, "--without-results")
    assert refused.startswith(f"{run / file} is damaged")
    assert hub.account.repositories == {}


def test_a_failed_check_is_not_published(hub, run, capsys, monkeypatch):
    from leaf_st.publishing.verify import Check

    monkeypatch.setattr(preparing, "verify", lambda *_: [Check("norm", "failed", "expected 1, found 2")])
    assert "cannot be published: norm: expected 1, found 2" in _refused(capsys, "push", run, "--repo-id", REPO)
    assert hub.account.repositories == {}


def test_an_existing_card_is_kept(run, unchecked):
    (run / "model" / "README.md").write_text("mine")
    prepare(run, REPO)
    assert (run / "publish" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("asymmetric", [False, True])
def test_an_edited_card_is_not_replaced(run, unchecked, asymmetric):
    prepare(run, REPO, asymmetric=asymmetric)
    prepare(run, REPO, asymmetric=asymmetric)  # the generated card is
    card, kept = (run / part / "README.md" for part in ("publish", "model"))
    edited = card.read_text() + "Edited by hand.\n"
    card.write_text(edited)
    with pytest.raises(InputError, match=rf"^{card}: expected the card .* found an edited one: move it to {kept} to "):
        prepare(run, REPO, asymmetric=asymmetric)
    assert card.read_text() == edited
    card.rename(kept)
    for _ in range(2):
        prepare(run, REPO, asymmetric=asymmetric)
        assert card.read_text() == edited


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "asymmetric", "remedy"),
    [
        ("LICENSE", False, "move it to {kept} to publish it, or delete it"),
        ("img/banner.png", False, "move it to {kept} to publish it, or delete it"),
        ("model.safetensors", False, "move it to another folder, or delete it"),
        (".notes/draft.md", False, "move it to another folder, or delete it"),
        ("LICENSE", True, "move it to another folder, or delete it"),
    ],
)
def test_a_file_that_was_added_to_the_published_folder_is_not_deleted(run, unchecked, name, asymmetric, remedy):
    prepare(run, REPO, asymmetric=asymmetric)
    path = run / "publish" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = _contents(run)
    found = "expected only files as leaf-st push wrote them, found an added or edited one, which would be deleted"
    with pytest.raises(InputError) as raised:
        prepare(run, REPO, asymmetric=asymmetric)
    assert str(raised.value) == f"{path}: {found}: {remedy.format(kept=run / 'model' / name)}"
    assert _contents(run) == before


def test_a_licence_in_the_model_folder_is_published(run, unchecked):
    prepare(run, REPO)
    licence = run / "publish" / "LICENSE"
    licence.write_text("mine")
    (run / "publish" / ".DS_Store").touch()  # of a file manager
    (run / "publish" / "empty").mkdir()
    licence.rename(run / "model" / "LICENSE")
    for _ in range(2):
        prepare(run, REPO)
        assert licence.read_text() == "mine"


def test_a_published_folder_without_its_list_of_files_is_not_deleted(run, unchecked):
    prepare(run, REPO)
    (run / "publish" / "leaf_st.json").unlink()
    before = _contents(run)
    with pytest.raises(InputError, match="expected only files as leaf-st push wrote them"):
        prepare(run, REPO)
    assert _contents(run) == before


def test_hidden_files_and_backups_are_not_published(run, unchecked, caplog):
    caplog.set_level("INFO", "leaf_st")
    names = [
        ".env",
        ".README.md.swp",
        "README.md~",
        "README (a's conflicted copy).md",
        ".ipynb_checkpoints/README-checkpoint.md",
        "1_Pooling/.hidden",
    ]
    for name in [*names, "NOTICE"]:
        path = run / "model" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("a draft")
    prepare(run, REPO)
    published = {path.relative_to(run / "publish").as_posix() for path in _contents(run / "publish")}
    assert "NOTICE" in published
    assert published.isdisjoint(names)
    for name in (".env", ".README.md.swp", "README.md~", ".ipynb_checkpoints", "1_Pooling/.hidden"):
        assert f"{run / 'model' / name} is not published: hidden files and backups are left out" in caplog.text


def test_verify_by_the_command(run, capsys, monkeypatch):
    from leaf_st.publishing import verify as verifying

    monkeypatch.setattr(verifying, "read_as_consumer", lambda *_: "OSError: none")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(run)])
    written = capsys.readouterr()
    assert ended.value.code == 1
    lines = [re.split(" {2,}", line) for line in written.out.splitlines()]
    assert ["load", "failed", "OSError: none"] in lines
    assert ["card", "skipped", "there is no README.md"] in lines
    assert written.err.splitlines()[-1] == f"leaf-st: {run / 'model'} failed a check and should not be published"


def test_a_missing_results_file_is_named(run):
    (run / "results" / "tasks.json").write_text("{")
    with pytest.raises(InputError, match="expected a JSON list"):
        prepare(run, REPO)
