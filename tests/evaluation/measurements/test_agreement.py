"""The measurement on held-out texts of a trained run and on texts of the user."""

import json
import shutil
from argparse import Namespace
from collections import Counter

import numpy as np
import pytest
from letters import save_set, save_texts, words
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import document_text, load_beir
from leaf_st.evaluation.embedder import embed_set
from leaf_st.evaluation.measurements import agreement_search, collection
from leaf_st.evaluation.measurements.agreement import AGREEMENT, format_agreement, group_lines
from leaf_st.evaluation.measurements.agreement_row import HELD_OUT
from leaf_st.evaluation.measurements.agreement_rows import measure_held_out
from leaf_st.evaluation.measurements.alignment import measure_alignment
from leaf_st.evaluation.measurements.baseline import recall
from leaf_st.evaluation.measurements.collection import held_out_collection
from leaf_st.evaluation.measurements.lost_queries import LOST_QUERIES, lost_by_query
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.pipeline.run import Run
from leaf_st.recipe import TrainingSpec
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.precompute import precompute
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts import Text


@pytest.fixture(scope="module")
def held_out(trained, tmp_path_factory):
    """The results folder of the held-out texts of a run."""
    results = tmp_path_factory.mktemp("held out")
    measure_held_out(trained.folder, results)
    return results


def _measure(model, results, texts, teacher=None):
    return AGREEMENT.measure(Namespace(model=str(model), output=results, texts=texts, teacher=teacher))


def _all(rows):
    return {row.mode: row for row in rows if row.group == "all"}


def test_held_out_queries_search_held_out_and_training_documents(trained, held_out):
    store = EmbeddingStore(trained.folder / "store")
    kinds = [row.kind for row in store.texts(range(len(store)))]
    queries = [row for row in store.held_out(6).tolist() if kinds[row] == "query"]
    documents = [row for row, kind in enumerate(kinds) if kind == "document"]
    assert queries
    student = load_model(str(trained.folder / "model"))
    targets = store.embeddings(range(len(store))).astype(np.float32)
    ours = {
        "query": student.encode_query([row.text for row in store.texts(queries)]),
        "document": student.encode_document([row.text for row in store.texts(documents)]),
    }
    expected = targets[queries] @ targets[documents].T
    scores = {"standard": ours["query"] @ ours["document"].T, "asymmetric": ours["query"] @ targets[documents].T}
    rows = AGREEMENT.read(held_out)
    for mode, row in _all(rows).items():
        assert (row.set, row.queries, row.documents, row.asked) == (HELD_OUT, len(queries), len(documents), "query")
        assert row.trained == len(set(documents) - set(store.held_out(6).tolist()))
        assert (row.model, row.teacher) == ("local/tiny", "local/teacher")
        for k, found in ((1, row.recall_1), (10, row.recall_10)):
            shares = [
                len(set(np.argsort(-a)[:k].tolist()) & set(np.argsort(-b)[:k].tolist())) / k
                for a, b in zip(expected, scores[mode], strict=True)
            ]
            assert found == pytest.approx(100 * np.mean(shares))
        assert row.recall_100 is None  # there are fewer documents
        # With fewer than 100 documents, the union of both lists is all documents.
        correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(expected, scores[mode], strict=True)]
        assert row.correlation == pytest.approx(np.mean(correlations), abs=1e-4)


def test_groups_are_by_length_and_by_distance_to_the_nearest_training_text(trained, held_out):
    rows = AGREEMENT.read(held_out)
    store = EmbeddingStore(trained.folder / "store")
    held = store.held_out(6).tolist()
    queries = [row for row in held if store.texts([row])[0].kind == "query"]
    targets = store.embeddings(range(len(store))).astype(np.float32)
    training = np.delete(targets, held, axis=0)
    nearest = [np.linalg.norm(training - targets[row], axis=1).min() for row in queries]
    for mode, every in _all(rows).items():
        for group in ("tokens", "distance"):
            parts = [row for row in rows if (row.group, row.mode) == (group, mode)]
            assert sum(part.queries for part in parts) == len(queries)
            assert sum(part.queries * part.overlap for part in parts) / len(queries) == pytest.approx(every.overlap)
        assert parts[0].low == pytest.approx(min(nearest), abs=1e-3)
        assert parts[-1].high == pytest.approx(max(nearest), abs=1e-3)
    lines = group_lines(rows)
    assert len(lines) == 1 + len([row for row in rows if row.group != "all"])
    assert any(line[0].endswith("from training") for line in lines[1:])
    assert format_agreement(rows).startswith("texts ")


def test_the_queries_that_lose_most_come_first(trained, held_out):
    rows = LOST_QUERIES.read(held_out)
    store = EmbeddingStore(trained.folder / "store")
    texts = [row.text for row in store.texts(range(len(store)))]
    overlaps = []
    for (name, _), modes in lost_by_query(rows).items():
        assert name == HELD_OUT
        assert list(modes) == list(ROLES)
        for hits in modes.values():
            assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            assert {hit.text for hit in hits} <= set(texts)
            assert {hit.asked for hit in hits} <= set(texts)
        assert [hit.teacher_rank for hit in modes["teacher"]] == [1, 2, 3, 4, 5]
        overlaps.append(np.mean([modes[mode][0].overlap for mode in STUDENT_MODES]))
    assert overlaps == sorted(overlaps)
    assert LOST_QUERIES.table(rows)


def test_a_student_with_the_teacher_s_weights_agrees_in_everything(tiny_teacher_folder, tmp_path):
    source = save_texts(tmp_path / "texts.jsonl", 260)
    rows = _measure(tiny_teacher_folder, tmp_path / "results", [source], str(tiny_teacher_folder))
    for row in rows:
        assert (row.recall_1, row.recall_10, row.recall_100) == (100, 100, 100)
        assert (row.overlap, row.correlation) == (pytest.approx(1), pytest.approx(1, abs=1e-5))
    assert {row.group for row in rows} == {"all", "tokens"}  # no run, so no training texts
    assert LOST_QUERIES.read(tmp_path / "results") == []
    assert (tmp_path / "results" / "models.json").is_file()


def test_a_judged_set_agrees_with_the_recall_of_the_baseline(trained, search_set, tmp_path):
    rows = _all(_measure(trained.folder, tmp_path, [search_set]))
    beir, teacher = load_beir(search_set), open_teacher(trained.recipe.teacher)
    student = load_model(str(trained.folder / "model"))
    _, vectors = embed_set(beir, teacher=teacher, student=student, modes=list(ROLES), batch_size=32)
    for mode, row in rows.items():
        assert row.recall_10 == pytest.approx(recall(vectors[mode], vectors["teacher"], teacher))
        assert (row.set, row.queries, row.documents) == (search_set.name, len(beir.queries), len(beir.corpus))
    assert not list((tmp_path / "parts").rglob("*.arrow"))
    # The run's store gives the distance to the training texts.
    assert {row.group for row in AGREEMENT.read(tmp_path)} == {"all", "tokens", "distance"}
    assert AGREEMENT.words(AGREEMENT.read(tmp_path)) == ["--texts", search_set.name]


def test_texts_need_no_judgments_and_no_queries(trained, search_set, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    unjudged = shutil.copytree(search_set, tmp_path / "unjudged")
    (unjudged / "qrels.tsv").unlink()
    plain, draw = tmp_path / "plain.txt", np.random.default_rng(0)
    plain.write_bytes("\n".join(words(draw, 4) for _ in range(30)).encode() + b"\ngr\xf6\xdfe\n")
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps({"text": words(draw, 3), "kind": "query"}) + "\n" for _ in range(15)))
    rows = [row for row in _measure(trained.folder, tmp_path / "results", [unjudged, plain, asked])]
    found = {row.set: (row.queries, row.documents, row.asked) for row in rows if row.group == "all"}
    assert found == {
        "unjudged": (6, len(load_beir(search_set).corpus), "query"),
        "plain.txt": (30, 30, "document"),
        "asked.jsonl": (15, 15, "query"),
    }
    assert caplog.messages.count(f"{plain}; left out: 1 not UTF-8") == 1
    assert all(row.recall_1 < 100 for row in rows if row.set == "plain.txt" and row.group == "all")
    hits = [row for row in LOST_QUERIES.read(tmp_path / "results") if row.set == "plain.txt"]
    assert all(hit.text != hit.asked for hit in hits)  # no text finds itself


def test_large_texts_are_searched_with_some_of_their_queries(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "QUERIES", 7)
    monkeypatch.setattr(agreement_search, "_BLOCK", 16)
    source = save_texts(tmp_path / "texts.jsonl", 120)
    rows = _all(_measure(trained.folder, tmp_path / "few", [source]))
    assert {(row.queries, row.documents) for row in rows.values()} == {(7, 60)}
    monkeypatch.setattr(agreement_search, "_BLOCK", 2048)
    again = _all(_measure(trained.folder, tmp_path / "again", [source]))
    for mode, row in rows.items():
        assert row.overlap == pytest.approx(again[mode].overlap)


def test_a_run_of_few_held_out_documents_is_completed_with_training_documents(local_teacher, tmp_path):
    draw = np.random.default_rng(0)
    texts = [Text(words(draw, 5), ("query", "document")[number % 2]) for number in range(100)]
    store = precompute(texts, local_teacher, tmp_path / "store", rows_per_shard=16)
    held = set(store.held_out(10).tolist())
    found = held_out_collection("all", store, TrainingSpec(held_out_rows=10), most_documents=20)
    assert len(found.documents) == 20
    assert found.trained == len(set(found.documents.tolist()) - held)
    assert {texts[row].kind for row in found.documents.tolist()} == {"document"}
    assert {row for row in held if texts[row].kind == "query"} == set(found.queries.tolist())
    assert {row for row in held if texts[row].kind == "document"} <= set(found.documents.tolist())
    assert (found.own == -1).all()
    store = precompute([Text(row.text, "document") for row in texts], local_teacher, tmp_path / "documents")
    found = held_out_collection("documents", store, TrainingSpec(held_out_rows=10), most_documents=20)
    assert (found.asked, set(found.queries.tolist())) == ("document", held)
    assert found.documents[found.own].tolist() == found.queries.tolist()


@pytest.fixture
def embedded(monkeypatch):
    """Counts the texts that teachers embed; the fourth block is interrupted once."""
    from leaf_st.teacher import maker as module

    counted, embed, blocks = Counter(), module.embed_rows, []

    def embed_rows(teacher, rows):
        blocks.append(len(rows))
        if len(blocks) == 4:
            raise KeyboardInterrupt
        counted.update(rows)
        return embed(teacher, rows)

    monkeypatch.setattr(module, "embed_rows", embed_rows)
    return counted


def test_an_interrupted_measurement_embeds_no_text_again(trained, embedded, tmp_path, monkeypatch):
    small = save_set(tmp_path / "small", documents=12, queries=3)
    large = save_texts(tmp_path / "large.jsonl", 3000)
    with pytest.raises(KeyboardInterrupt):
        _measure(trained.folder, tmp_path / "results", [small, large])
    assert not (tmp_path / "results" / AGREEMENT.file).exists()
    rows = _measure(trained.folder, tmp_path / "results", [small, large])
    assert set(embedded.values()) == {1}
    assert list(_all([row for row in rows if row.set == "small"])) == list(STUDENT_MODES)
    counted = embedded.copy()
    assert _measure(trained.folder, tmp_path / "results", [small, large]) == rows
    assert embedded == counted


def test_unusable_texts_and_models_are_named(trained, tiny_teacher_folder, search_set, tmp_path):
    with pytest.raises(InputError, match=r"--texts .*none\.txt: no such file"):
        _measure(trained.folder, tmp_path / "results", [search_set, tmp_path / "none.txt"])
    (tmp_path / "one.txt").write_text("a single text")
    with pytest.raises(InputError, match=r"one\.txt: expected queries and documents, found one text"):
        _measure(trained.folder, tmp_path / "results", [tmp_path / "one.txt"])
    other = shutil.copytree(search_set, tmp_path / "other" / search_set.name)
    with pytest.raises(InputError, match="two sources have the same name letters"):
        _measure(trained.folder, tmp_path / "results", [search_set, other])
    with pytest.raises(InputError, match="expected a run folder, whose held-out texts are measured"):
        _measure(tiny_teacher_folder, tmp_path / "results", [])
    with pytest.raises(InputError, match="--teacher other: expected --texts, found none: the held-out texts"):
        _measure(trained.folder, tmp_path / "results", [], teacher="other")
    assert not (tmp_path / "results").exists()


def test_a_run_that_is_not_trained_is_called_so(trained, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "run", ignore=shutil.ignore_patterns("model"))
    for measure in (measure_held_out, measure_alignment):
        with pytest.raises(
            InputError, match=rf"^{folder}: expected a run folder with recipe\.json and a trained model"
        ):
            measure(folder)


def test_a_run_measures_it(trained, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    rows = Run(trained.recipe, folder).measure_agreement()
    assert AGREEMENT.read(folder / "results") == rows


def test_held_out_texts_are_not_measured_into_results_of_another_student(trained, whole, tmp_path):
    shutil.copytree(whole / "results", tmp_path / "results")
    student = SentenceTransformer(str(trained.folder / "model"), device="cpu")
    student.max_seq_length = 7
    run = shutil.copytree(trained.folder, tmp_path / "run", ignore=shutil.ignore_patterns("results"))
    shutil.copytree(whole / "results", run / "results")
    save_portable(student, run / "model")
    before = {path: path.read_bytes() for path in tmp_path.rglob("results/*.json")}
    for measure in (measure_held_out, measure_alignment):
        for results in (tmp_path / "results", None):  # another folder, and that of the run
            with pytest.raises(InputError, match=r"contains results of the student .*: name another --output"):
                measure(run, results)
    assert {path: path.read_bytes() for path in tmp_path.rglob("results/*.json")} == before


def test_documents_of_a_set_keep_their_titles(search_set):
    beir = load_beir(search_set)
    texts = list(collection._read(search_set, Counter()))
    assert [row.text for row in texts if row.kind == "document"] == [document_text(row) for row in beir.corpus]
