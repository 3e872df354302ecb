"""The folder of a page, and input that is refused before any work."""

import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from hub_account import REPO, at

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.export.encoder import OnnxEncoder
from leaf_st.hub.manifest import write_manifest
from leaf_st.models.load import load_model
from leaf_st.publishing import push
from leaf_st.publishing.site import build, index
from leaf_st.publishing.site.build import build_site
from leaf_st.publishing.site.index import CODES_PER_FILE, neighbours_together
from leaf_st.publishing.site.manifest import check_site
from leaf_st.publishing.site.runtime import RUNTIME
from leaf_st.student.static import build_static
from leaf_st.teacher.open import open_teacher, teacher_spec
from leaf_st.texts.documents import read_titled_documents

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "documents.jsonl"
    rows = [
        {"text": " abc def ", "title": "One"},
        {"text": "fed cba", "title": None},
        {"text": "abc def", "title": "Two"},
        {"text": "abc def ", "title": "One"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def page(finished, documents, tmp_path):
    return build_site(finished, documents, tmp_path / "site").parent


def _refused(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_command_writes_a_page_that_can_be_published(finished, table, tmp_path, capsys):
    output = tmp_path / "site"
    arguments = ["site", finished, "--documents", table, "--output", output, "--dimensions", 16]
    main([str(argument) for argument in arguments])
    main([str(argument) for argument in arguments])  # replaces the page
    printed = capsys.readouterr()
    assert f"3 documents; the page is {output / 'index.html'}" in printed.out
    assert f"{table}; left out: 1 duplicate\n" in printed.out
    assert "making the graph" in printed.out
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["dimension"], manifest["count"], list(manifest["indexes"])) == (16, 3, ["asymmetric"])
    assert manifest["student"]["prompt"] == "find: "
    assert json.loads((output / "documents/00000.json").read_text()) == [
        ["One", "abc def"],
        ["Two", "abc def"],
        ["", "fed cba"],
    ]
    assert {file.url for file in RUNTIME.values()} <= manifest["files"].keys()
    check_site(output)


def test_a_page_with_files_of_the_user_is_not_replaced(finished, documents, page):
    for name in (".git/HEAD", "CNAME", "documents/notes.txt"):
        path = page / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(InputError, match=f"--output {page}: expected only the files of .*, found {name}, which"):
            build_site(finished, documents, page)
        assert path.read_text() == "mine"
        path.unlink()
    (page / "linked").symlink_to(finished)
    with pytest.raises(InputError, match="found linked, which"):
        build_site(finished, documents, page)
    (page / "linked").unlink()
    build_site(finished, documents[:1], page)  # an empty folder .git holds nothing of the user


def test_files_of_file_managers_are_not_of_the_user(finished, documents, page):
    for name in (".DS_Store", "documents/Thumbs.db"):
        (page / name).write_text("a view")
    check_site(page)
    assert not write_manifest(page).files.keys() & {".DS_Store", "documents/Thumbs.db"}  # what is pushed
    build_site(finished, documents[:1], page)


def test_codes_decode_to_the_vectors_of_the_teacher(finished, documents, page):
    shown = [tuple(row) for path in sorted((page / "documents").iterdir()) for row in json.loads(path.read_text())]
    order = [[(document.title, document.text) for document in documents].index(row) for row in shown]
    assert sorted(order) == list(range(len(documents)))
    student = load_model(str(finished / "model"))
    teacher = open_teacher(teacher_spec(str(finished / "model"), prompts=student.prompts))
    entry = json.loads((page / "manifest.json").read_text())["indexes"]["asymmetric"]
    codes = np.fromfile(page / entry["file"], np.int8).reshape(len(shown), -1)
    decoded = np.array(entry["low"]) + (codes + 128.5) * np.array(entry["step"])
    vectors = teacher.encode_document([document.embedded for document in documents])[order]
    assert np.abs(decoded - vectors).max() < np.max(entry["step"])


def test_similar_documents_are_in_the_same_file():
    draw = np.random.default_rng(0)
    groups = draw.permutation(np.repeat(np.arange(8), CODES_PER_FILE))
    centres = draw.standard_normal((8, 16))
    vectors = (centres[groups] + 0.01 * draw.standard_normal((len(groups), 16))).astype(np.float32)
    order = neighbours_together(vectors)
    assert sorted(order) == list(range(len(groups)))
    assert all(len(set(group)) == 1 for group in groups[order].reshape(-1, CODES_PER_FILE))
    assert sorted(neighbours_together(np.ones((100, 4), np.float32))) == list(range(100))


def test_titles_of_tables_and_beir_folders(table, beir, tmp_path):
    skipped = Counter()
    documents = read_titled_documents(table, "text", skipped)
    assert [document.title for document in documents] == ["One", "Two", ""]
    assert [document.embedded for document in documents] == ["abc def", "abc def", "fed cba"]
    assert skipped == {"duplicate": 1}
    folder = shutil.copytree(beir, tmp_path / "beir")
    (folder / "corpus.jsonl").write_text('{"_id": "d", "title": "A title", "text": "some text"}\n')
    (document,) = read_titled_documents(folder, "text", Counter())
    assert document == ("A title some text", "A title", "some text")
    kinds = tmp_path / "kinds.jsonl"
    kinds.write_text(
        '{"text": "abc", "title": "A", "kind": "document"}\n{"text": "abc", "title": "B", "kind": "query"}\n'
    )
    assert read_titled_documents(kinds, "text", Counter()) == [("abc", "A", "abc")]
    lines = tmp_path / "lines.txt"
    lines.write_text("one\ntwo\n")
    assert read_titled_documents(lines, "text", Counter())[1] == ("two", "", "two")


def test_a_title_that_utf_8_cannot_encode_is_shown_without_the_character(tmp_path):
    path = tmp_path / "documents.jsonl"
    path.write_text('{"text": "abc", "title": "half \\ud800 of a pair"}\n')
    documents = read_titled_documents(path, "text", Counter())
    build._write_documents(tmp_path / "documents", documents)
    assert json.loads((tmp_path / "documents/00000.json").read_text()) == [["half ? of a pair", "abc"]]


def test_onnxruntime_reports_nothing_about_the_graph(page, finished, capfd):
    OnnxEncoder(page / build.GRAPH, load_model(str(finished / "model")))
    assert "onnxruntime" not in capfd.readouterr().err


def test_one_document(finished, documents, tmp_path):
    build_site(finished, documents[:1], tmp_path / "site")


def test_the_manifest_has_the_tokens_of_queries(finished, page):
    settings = json.loads((page / "manifest.json").read_text())["student"]
    tokenizer = load_model(str(finished / "model")).tokenizer
    texts, ids = zip(*settings["tokenized"], strict=True)
    assert len(texts) == 14
    assert max(map(len, texts)) <= 100
    asked = [settings["prompt"] + text for text in texts]
    assert list(ids) == tokenizer(asked, truncation=True, max_length=settings["max_length"])["input_ids"]


def test_bad_input_is_one_line(finished, table, page, tmp_path, capsys):
    site = ["site", finished, "--documents", table, "--output", tmp_path / "new"]
    lines = tmp_path / "lines.txt"
    lines.write_text("a text\n")
    cases = {
        "--title-column: expected a column 'name'": [*site, "--title-column", "name"],
        "--title-column: expected a table, found lines of text": [
            *(*site[:3], lines, *site[4:], "--title-column", "title"),
        ],
        "--dimensions 33: expected 1 to 32": [*site, "--dimensions", 33],
        "expected each mode once": [*site, "--modes", "standard", "standard"],
        "found no such package: run `npm install --ignore-scripts": [*site, "--vendor", tmp_path],
        "found other files": [*site[:-1], finished],
        "page.js is not as manifest.json lists": ["push", page, "--site", "--repo-id", REPO, "--dry-run"],
        "--site: a page has no model card": ["push", page, "--site", "--repo-id", REPO, "--asymmetric"],
        "found no manifest.json of a page": ["push", finished, "--site", "--repo-id", REPO, "--dry-run"],
    }
    (page / "page.js").write_text("changed")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "manifest.json").write_text('{"indexes": {}}')
    with pytest.raises(InputError, match=r"found no manifest\.json of a page"):
        check_site(tmp_path / "half")
    for message, arguments in cases.items():
        assert message in _refused(capsys, *arguments)
    assert not (tmp_path / "new").exists()


def _edit(page, edit):
    manifest = json.loads((page / "manifest.json").read_text())
    edit(manifest)
    (page / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, separators=(",", ":")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda page: (page / "notes.txt").write_text("mine"),
            "notes.txt is not in manifest.json: remove the file, or",
        ),
        (lambda page: (page / "page.js").unlink(), "page.js is in manifest.json, but not in the folder: build"),
        (
            lambda page: _edit(page, lambda manifest: manifest["files"].pop("page.js")),
            "page.js is not in manifest.json",
        ),
        (
            lambda page: _edit(page, lambda manifest: manifest["files"]["page.js"].update(sha256="0")),
            "page.js is not as",
        ),
        (lambda page: _edit(page, lambda manifest: manifest["runtime"].update(wasm="x")), "manifest.json was changed"),
        (lambda page: _edit(page, lambda manifest: manifest["student"].update(prompt="")), "manifest.json was changed"),
    ],
)
def test_a_page_that_was_changed_is_not_pushed(page, change, message):
    _edit(page, lambda manifest: None)
    check_site(page)
    change(page)
    with pytest.raises(InputError, match=message):
        check_site(page)


def test_a_static_student_has_no_page(finished, documents, tiny_teacher_folder, tmp_path, monkeypatch):
    static = build_static(tiny_teacher_folder, dimension=32, normalized=True, device="cpu")
    monkeypatch.setattr(build, "load_model", lambda folder: static)
    with pytest.raises(InputError, match="site: expected a student with a transformer, found a static student"):
        build_site(finished, documents, tmp_path / "site")


def test_push_site_makes_a_static_space(hub, page, capsys):
    command = ["push", str(page), "--site", "--repo-id", REPO]
    main([*command, "--dry-run"])
    assert "nothing was sent" in capsys.readouterr().out
    assert REPO not in hub.account.repositories
    main(command)
    assert f"files sent to {hub.url}/spaces/{REPO}; tagged v" in capsys.readouterr().out
    pushed = hub.account.repositories[REPO].at("main")
    for path in page.rglob("*"):
        if path.is_file():
            assert (pushed / path.relative_to(page)).read_bytes() == path.read_bytes()
    main(command)
    assert "0 files sent" in capsys.readouterr().out


def test_a_page_of_more_files_than_the_hub_allows_is_named_before_the_upload(
    hub, finished, documents, tmp_path, monkeypatch, capsys, caplog
):
    monkeypatch.setattr(index, "MOST_INT8", 100)
    monkeypatch.setattr(index, "CODES_PER_FILE", 4)
    for module in (build, push):
        monkeypatch.setattr(module, "MOST_FILES", 49)
    page = build_site(finished, documents, tmp_path / "many").parent
    assert "a page of 200 documents has 50 files in a folder, and the hub allows 49: serve the page" in caplog.text
    for more in ([], ["--dry-run"]):
        refused = _refused(capsys, "push", page, "--site", "--repo-id", REPO, *more)
        assert f"{page / 'vectors' / 'asymmetric'}: expected at most 49 files, which the hub allows" in refused
        assert "found 50: serve the page from another host" in refused
    assert REPO not in hub.account.repositories
    caplog.clear()
    for module in (build, push):
        monkeypatch.setattr(module, "MOST_FILES", 50)
    main(["push", str(build_site(finished, documents, page).parent), "--site", "--repo-id", REPO, "--dry-run"])
    assert caplog.text == ""


def test_the_page_starts_with_the_first_mode_after_a_reload(finished, documents, tmp_path):
    page = build_site(finished, documents[:1], tmp_path / "both", modes=["asymmetric", "standard"])
    inputs = re.findall('<input type="radio"[^>]*>', page.read_text())
    assert ["checked" in found for found in inputs] == [True, False]
    assert all('autocomplete="off"' in found for found in inputs)  # a browser restores no choice that the page ignores


def test_a_push_that_failed_after_the_creation_of_the_space_can_be_repeated(hub, page, capsys):
    command = ["push", page, "--site", "--repo-id", REPO]
    hub.faults.append(at("preupload", 403))
    _refused(capsys, *command)
    repository = hub.account.repositories[REPO]
    assert repository.titles[repository.branches["main"]] == ["initial commit"]
    main([str(argument) for argument in command])
    assert (repository.at("main") / "index.html").read_bytes() == (page / "index.html").read_bytes()


@pytest.mark.parametrize("files", [{"index.html": "mine"}, {"README.md": "mine", "mine.js": ""}])
def test_a_space_with_files_of_somebody_is_not_overwritten(hub, page, capsys, files):
    repository = hub.account.create(REPO, files={"README.md": "an example", "index.html": "an example"})

    def edit(folder):
        for name, text in files.items():
            (folder / name).write_text(text)

    repository.branches["main"] = repository.commit(repository.branches["main"], edit, "my page")
    assert "which this command did not write" in _refused(capsys, "push", page, "--site", "--repo-id", REPO)
    assert (repository.at("main") / next(iter(files))).read_text() == "mine"
