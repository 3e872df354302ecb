"""Data sets on the hub as sources of texts and vectors, over HTTP from the stand-in hub."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import COMMIT, connect, serve

from leaf_st.errors import InputError
from leaf_st.hub.dataset_files import dataset_files
from leaf_st.hub.dataset_url import DatasetUrl, parse_dataset_url
from leaf_st.pipeline.recipe_file import override
from leaf_st.pipeline.run import Run
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.run_folder import read_record, write_record
from leaf_st.teacher.open import open_teacher, usable_texts
from leaf_st.teacher.precompute import precompute
from leaf_st.texts.read import read_texts

NAME = "Cohere/wikipedia-2023-11-embed-multilingual-v3"
URL = f"hf://datasets/{NAME}"
ROWS, WIDTH = 40, 8


def _vectors(seed):
    return np.random.default_rng(seed).normal(size=(ROWS, WIDTH)).astype(np.float32)


@pytest.fixture(autouse=True)
def _no_earlier_downloads():
    dataset_files.cache_clear()


@pytest.fixture
def published(tmp_path):
    """A data set in the layout of Cohere's dumps of Wikipedia: a folder for each language, with files of some rows."""
    folder = tmp_path / "published"
    for seed, name in enumerate(("en/0000", "en/0001", "de/0000")):
        texts = [f"passage {row} of {name}" for row in range(ROWS)]
        columns = {"_id": texts, "url": texts, "title": texts, "text": texts}
        emb = pa.array(list(_vectors(seed)), pa.list_(pa.float32()))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({**columns, "emb": emb}), folder / f"{name}.parquet")
    (folder / "README.md").write_text("# A card\n")
    (folder / "more").mkdir()
    (folder / "more" / "texts.jsonl").write_text('{"text": "a line"}\n')
    return {NAME: folder}


def _texts(source):
    return [row.text for row in read_texts(TextsSpec(source), Counter())]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("hf://datasets/a/b", DatasetUrl("a/b", None, "")),
        ("hf://datasets/a/b/", DatasetUrl("a/b", None, "")),
        ("hf://datasets/a/b.c/en", DatasetUrl("a/b.c", None, "en")),
        ("hf://datasets/a/b@v1/en/0.parquet", DatasetUrl("a/b", "v1", "en/0.parquet")),
        ("hf://datasets/a/b@refs/convert/parquet/default", DatasetUrl("a/b", "refs/convert/parquet", "default")),
        ("hf://datasets/a/b@refs%2Fpr%2F1", DatasetUrl("a/b", "refs/pr/1", "")),
    ],
)
def test_parts_of_an_address(url, parts):
    assert parse_dataset_url(url) == parts
    assert TextsSpec(url).source == url


@pytest.mark.parametrize("url", ["hf://datasets/a", "hf://datasets/a/b@", "hf://datasets/a/b/*.parquet"])
def test_other_addresses_are_refused_with_the_recipe(url):
    with pytest.raises(InputError, match=r"^texts\.source: expected hf://datasets/OWNER/NAME, optionally with"):
        TextsSpec(url)


@pytest.mark.parametrize("part", ["me/a--b/x.parquet", "me/data.git", "me/a..b@v1/en"])
def test_names_that_the_hub_does_not_allow_are_one_line(part):
    url = f"hf://datasets/{part}"
    with pytest.raises(InputError, match=rf"^texts\.source {url}: expected a name that the hub allows \([^\n]*$"):
        _texts(url)


def test_a_folder_of_a_data_set_with_vectors_becomes_a_store(published, tmp_path, monkeypatch):
    texts = TextsSpec(f"{URL}/en")
    spec = TeacherSpec(model="Cohere/embed-multilingual-v3", vector_column="emb", table=texts)
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        teacher, skipped = open_teacher(spec), Counter()
        rows = usable_texts(teacher, read_texts(texts, skipped, prompts=teacher.prompts), skipped)
        store = precompute(rows, teacher, tmp_path / "store", dtype="float32", skipped=skipped)
    assert sorted(hub.downloads) == ["en/0000.parquet", "en/0001.parquet"]
    np.testing.assert_array_equal(store.embeddings(range(2 * ROWS)), np.concatenate([_vectors(0), _vectors(1)]))
    assert [row.text for row in store.texts([0, ROWS])] == ["passage 0 of en/0000", "passage 0 of en/0001"]


def test_texts_without_vectors_and_single_files(published, tmp_path, monkeypatch):
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        assert _texts(f"{URL}@main/de/0000.parquet")[:1] == ["passage 0 of de/0000"]
        assert _texts(f"{URL}/more/texts.jsonl") == ["a line"]
        assert len(_texts(URL)) == 3 * ROWS


def test_a_folder_with_the_name_of_a_file(published, tmp_path, monkeypatch):
    (published[NAME] / "en").rename(published[NAME] / "en.parquet")  # as Spark and Dask write tables
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        assert len(_texts(f"{URL}/en.parquet")) == 2 * ROWS


def test_a_saved_data_set_on_the_hub_is_what_its_state_lists(published, tmp_path, monkeypatch):
    datasets.Dataset.from_dict({"text": ["stale"]}).save_to_disk(published[NAME] / "saved")
    stale = published[NAME] / "saved" / "data-00000-of-00001.arrow"
    stale.rename(stale.with_name("cache-0.arrow"))
    datasets.Dataset.from_dict({"text": ["cats", "dogs"]}).save_to_disk(published[NAME] / "saved")
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        assert _texts(f"{URL}/saved") == ["cats", "dogs"]


def test_a_complete_folder_in_the_cache_needs_no_hub(published, tmp_path, monkeypatch):
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        before = _texts(f"{URL}/en")
    dataset_files.cache_clear()
    assert _texts(f"{URL}/en") == before
    with pytest.raises(
        InputError,
        match=rf"^texts\.source {URL}/de: not in the hub's cache, and the hub cannot .* failed with: [^\n]*$",
    ):
        _texts(f"{URL}/de")


def test_the_commit_that_comes_from_the_cache_is_logged(published, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="leaf_st")
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        before = _texts(f"{URL}/en")
        assert COMMIT not in caplog.text
        dataset_files.cache_clear()
        hub.newest = "f" * 40
        assert _texts(f"{URL}/en") == before
        assert f"{NAME}: commit {COMMIT} is read from the hub's cache; the hub may have a newer one" in caplog.text
        caplog.clear()
        for _ in range(2):  # downloaded, then from the cache
            assert _texts(f"{URL}@{hub.newest}/en") == before
            dataset_files.cache_clear()
        assert "in the hub's cache is read" not in caplog.text


def test_an_interrupted_download_is_completed(published, tmp_path, monkeypatch):
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        monkeypatch.setattr("leaf_st.hub.attempts.PAUSES", ())
        hub.cut = frozenset({"en/0001.parquet"})
        with pytest.raises(InputError, match=r"^texts\.source .*en: not in the hub's cache"):
            _texts(f"{URL}/en")
        hub.cut = frozenset()
        assert len(_texts(f"{URL}/en")) == 2 * ROWS
    assert hub.downloads.count("en/0000.parquet") == 1


def test_what_the_hub_does_not_have_is_named(published, tmp_path, monkeypatch):
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        with pytest.raises(InputError, match=r"^texts\.source hf://datasets/no/body: the hub has no such data set or"):
            _texts("hf://datasets/no/body")
        with pytest.raises(InputError, match=r"form more/\*\.parquet, .*, found README\.md, de/0000\.parquet, en/0000"):
            _texts(f"{URL}/more")
        hub.fail_with = 403
        with pytest.raises(InputError, match="the hub refuses this data set, because the token is"):
            _texts(f"{URL}/de")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="not in the hub's cache, and HF_HUB_OFFLINE switches the hub off"):
        _texts(f"{URL}/de")


@pytest.fixture
def recipe(tiny_teacher_folder):
    return Recipe(
        name="hub",
        texts=TextsSpec(f"{URL}/en"),
        teacher=TeacherSpec(model="owner/api", vector_column="emb"),
        student=StudentSpec(backbone=str(tiny_teacher_folder), layers=(0, 2), max_length=128, closed_form_rows=16),
        training=TrainingSpec(held_out_rows=16, arguments={"max_steps": 2, "use_cpu": True}),
    )


def test_a_run_records_the_commit_of_its_texts(published, recipe, tmp_path, monkeypatch):
    assert override(recipe, [f"texts.source={URL}/de"]).texts.source == f"{URL}/de"
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        assert len(Run(recipe, tmp_path / "run").embed()) == 2 * ROWS
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["commits"]["texts"] == COMMIT
    assert record["recipe"]["texts"]["source"] == f"{URL}/en"
    assert record["resolved"]["texts"]["source"] == f"{URL}@{COMMIT}/en"


def test_a_new_run_reads_the_newest_commit_and_a_resumed_run_its_own(published, recipe, tmp_path, monkeypatch):
    part = published[NAME] / "en" / "0000.parquet"
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        Run(recipe, tmp_path / "run").embed()
        dataset_files.cache_clear()
        Run(recipe, tmp_path / "cached").embed()
        assert hub.downloads.count("en/0000.parquet") == 1
        pq.write_table(pq.read_table(part).slice(0, 30), part)
        hub.newest = "f" * 40
        for changed in (recipe, override(recipe, ["max_steps=3"])):
            dataset_files.cache_clear()
            resumed = Run(changed, tmp_path / "run")
            assert len(resumed.embed()) == 2 * ROWS
            assert resumed.recipe.texts.source == resumed.recipe.teacher.table.source == f"{URL}@{COMMIT}/en"
        record = read_record(tmp_path / "run")  # as an earlier version wrote it
        for part in (record["resolved"]["texts"], record["resolved"]["teacher"]["table"]):
            part["source"] = f"{URL}/en"
        write_record(tmp_path / "run", record)
        assert len(Run(recipe, tmp_path / "run").embed()) == 2 * ROWS
        new = Run(recipe, tmp_path / "new")
        assert len(new.embed()) == 2 * ROWS - 10
        assert new.recipe.texts.source == f"{URL}@{hub.newest}/en"
    dataset_files.cache_clear()
    assert Run(recipe, tmp_path / "offline").recipe.texts.source == f"{URL}@{hub.newest}/en"


def test_general_texts_have_a_commit_too(published, recipe, tmp_path, monkeypatch):
    teacher, general = TeacherSpec(model=recipe.student.backbone), TextsSpec(f"{URL}/de", limit=8)
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        run = Run(replace(recipe, teacher=teacher, general=general), tmp_path / "run")
    assert run.recipe.general == replace(general, source=f"{URL}@{COMMIT}/de")


def test_a_training_on_a_complete_store_asks_for_no_data_set(published, recipe, tmp_path, monkeypatch):
    with serve({}, published) as hub:
        connect(monkeypatch, hub.url, tmp_path / "home")
        Run(recipe, tmp_path / "run").embed()
    shutil.copytree(tmp_path / "run" / "store", tmp_path / "pulled" / "store")
    connect(monkeypatch, hub.url, tmp_path / "another machine")  # without a hub
    for folder, commit in ((tmp_path / "run", COMMIT), (tmp_path / "pulled", None)):
        dataset_files.cache_clear()
        Run(override(recipe, ["max_steps=3"]), folder).train()
        assert read_record(folder)["commits"]["texts"] == commit
        assert (folder / "model" / "modules.json").is_file()
