import copy
import errno
import socket
import warnings

import datasets
import mteb
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from letters import open_model
from mteb.abstasks.aggregate_task_metadata import AggregateTaskMetadata
from mteb.abstasks.aggregated_task import AbsTaskAggregate
from mteb.models import SentenceTransformerEncoderWrapper
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from leaf_st import evaluate
from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.embedder import Embedder
from leaf_st.evaluation.results import TASKS_FILE, Result, retention_intervals
from leaf_st.evaluation.rows import read_rows
from leaf_st.evaluation.sizes import Size
from leaf_st.evaluation.tasks.encoder import ModeEncoder
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.load import loaded
from leaf_st.evaluation.tasks.local import LocalRetrieval
from leaf_st.evaluation.tasks.runner import evaluate_tasks
from leaf_st.models.identity import Identity
from leaf_st.models.random_weights import WIDTH
from leaf_st.student.asymmetric import compose
from leaf_st.student.static import build_static

MODES = ("teacher", "standard", "asymmetric")


def _measure(*paths, **options):
    return evaluate_tasks(find_tasks(list(map(str, paths))), **options)


def _scores(rows):
    return {row.mode: row.score for row in rows}


def _ndcg_at_10(beir, queries, documents):
    """Return nDCG@10 in percent of unit vectors, computed from its definition."""
    return np.mean(_by_query(beir, queries, documents))


def _by_query(beir, queries, documents):
    """Return nDCG@10 of each query in percent."""
    scores = []
    for row, query in enumerate(beir.queries):
        grades = beir.qrels[query["id"]]
        order = np.argsort(-(documents @ queries[row]))[:10]
        found = [grades.get(beir.corpus[index]["id"], 0) for index in order]
        best = sorted(grades.values(), reverse=True)[:10]
        gains = [sum(grade / np.log2(rank + 2) for rank, grade in enumerate(ranks)) for ranks in (found, best)]
        scores.append(100 * gains[0] / gains[1])
    return scores


def _vectors(model, beir, prompt=""):
    queries = model.encode([prompt + row["text"] for row in beir.queries])
    documents = model.encode([f"{row['title']} {row['text']}".strip() for row in beir.corpus])
    return queries, documents


def test_scores_equal_the_definition(retrieval, tiny_teacher, tiny_student):
    beir = load_beir(retrieval)
    results = _measure(retrieval, teacher=open_model(tiny_teacher), student=tiny_student, modes=MODES)
    teacher_queries, teacher_documents = _vectors(tiny_teacher, beir)
    student_queries, student_documents = _vectors(tiny_student, beir)
    expected = {
        "teacher": _ndcg_at_10(beir, teacher_queries, teacher_documents),
        "standard": _ndcg_at_10(beir, student_queries, student_documents),
        "asymmetric": _ndcg_at_10(beir, student_queries, teacher_documents),
    }
    # mteb rounds to five digits.
    assert {row.mode: row.score for row in results} == pytest.approx(expected, abs=1e-3)
    assert len(set(expected.values())) == 3


def test_rows_hold_the_score_of_each_query(retrieval, sts, tiny_teacher, tiny_student):
    beir = load_beir(retrieval)
    rows = _measure(retrieval, sts, teacher=open_model(tiny_teacher), student=tiny_student, modes=MODES)
    (queries, _), (teacher_queries, documents) = _vectors(tiny_student, beir), _vectors(tiny_teacher, beir)
    found = {row.mode: row.query_scores for row in rows if row.set == retrieval.name}
    assert found["teacher"] == (pytest.approx(_by_query(beir, teacher_queries, documents), abs=1e-4),)
    assert found["asymmetric"] == (pytest.approx(_by_query(beir, queries, documents), abs=1e-4),)
    assert retention_intervals([row for row in rows if row.set == retrieval.name]).keys() == {"standard", "asymmetric"}
    assert {row.query_scores for row in rows if row.set == "similar"} == {None}


def test_rows_name_models_set_and_sizes(retrieval, tiny_teacher, tiny_student):
    student = copy.deepcopy(tiny_student)
    student.model_card_data.set_model_id("us/student")
    first, second = _measure(
        retrieval, teacher=open_model(tiny_teacher), student=student, modes=["teacher", "standard"]
    )
    assert (first.set, first.type, first.metric) == (retrieval.name, "Retrieval", "ndcg_at_10")
    assert (first.queries, first.documents) == (6, 40)
    assert first.model == first.teacher == second.teacher == "local/teacher"
    assert second.model == "us/student"
    assert first.revision == first.teacher_revision == second.teacher_revision != second.revision
    assert first.seconds > 0


def test_a_static_student_is_measured(retrieval, tiny_teacher, tiny_teacher_folder):
    torch.manual_seed(4)
    table = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    results = _measure(retrieval, teacher=open_model(tiny_teacher), student=table, modes=["standard", "asymmetric"])
    beir = load_beir(retrieval)
    (queries, documents), (_, theirs) = _vectors(table, beir), _vectors(tiny_teacher, beir)
    expected = [_ndcg_at_10(beir, queries, documents), _ndcg_at_10(beir, queries, theirs)]
    assert [row.score for row in results] == pytest.approx(expected, abs=1e-3)


def test_the_model_s_prompts_are_used(retrieval, tiny_student):
    prompted = copy.deepcopy(tiny_student)
    prompted.prompts["query"] = "find "
    (result,) = _measure(retrieval, teacher=None, student=prompted, modes=["standard"])
    beir = load_beir(retrieval)
    assert result.score == pytest.approx(_ndcg_at_10(beir, *_vectors(tiny_student, beir, "find ")), abs=1e-3)


def test_each_text_is_encoded_once(retrieval, tiny_teacher, tiny_student, counting, counting_teacher):
    teacher, student = counting_teacher(tiny_teacher), counting(tiny_student)
    _measure(retrieval, teacher=teacher, student=student, modes=MODES)
    for model in (teacher, student):
        assert {side: len(seen) for side, seen in model.seen.items()} == {"query": 6, "document": 39, None: 0}
        assert {count for seen in model.seen.values() for count in seen.values()} == {1}


def test_a_mode_encodes_only_what_it_needs(retrieval, tiny_teacher, tiny_student, counting, counting_teacher):
    teacher, student = counting_teacher(tiny_teacher), counting(tiny_student)
    _measure(retrieval, teacher=teacher, student=student, modes=["asymmetric"])
    assert not teacher.seen["query"]
    assert not student.seen["document"]


def test_no_network_and_one_progress_bar(retrieval, tiny_student, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    _measure(retrieval, teacher=None, student=tiny_student, modes=["standard"])
    written = capsys.readouterr()
    assert written.out == ""
    assert f"{retrieval.name}: 100%" in written.err
    assert written.err.count("\n") == 1
    assert not datasets.are_progress_bars_disabled()


def test_student_modes_need_no_common_width_unless_asymmetric(retrieval, tiny_teacher, narrow_student):
    results = _measure(
        retrieval, teacher=open_model(tiny_teacher), student=narrow_student, modes=["teacher", "standard"]
    )
    assert [row.mode for row in results] == ["teacher", "standard"]
    with pytest.raises(InputError, match="teacher's vectors have 32 dimensions, the student's have 16"):
        _measure(retrieval, teacher=open_model(tiny_teacher), student=narrow_student, modes=["asymmetric"])


def test_modes_must_be_known_and_have_their_teacher(retrieval, tiny_student):
    with pytest.raises(InputError, match="mode 'both' is unknown: expected one of teacher, standard, asymmetric"):
        _measure(retrieval, teacher=None, student=tiny_student, modes=["both"])
    with pytest.raises(InputError, match="mode asymmetric needs the teacher"):
        _measure(retrieval, teacher=None, student=tiny_student, modes=["asymmetric"])


def test_nan_vectors_are_reported(retrieval, tiny_student):
    broken = copy.deepcopy(tiny_student)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="the student returns NaN or infinite numbers for 6 of 6 texts"):
        _measure(retrieval, teacher=None, student=broken, modes=["standard"])


def test_a_student_that_gives_nan_does_not_claim_the_folder(retrieval, tiny_teacher, tiny_student, tmp_path):
    broken = copy.deepcopy(tiny_student)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    options = {"teacher": open_model(tiny_teacher), "modes": MODES, "folder": tmp_path}
    with pytest.raises(InputError, match="the student returns NaN"):
        _measure(retrieval, student=broken, **options)
    assert [row.role for row in read_rows(tmp_path / "models.json", Size)] == ["teacher"]
    assert len(_measure(retrieval, student=tiny_student, **options)) == 3
    assert [row.role for row in read_rows(tmp_path / "models.json", Size)] == ["teacher", "student"]


def test_sts_is_the_rank_correlation_of_the_cosines(sts, tiny_teacher, tiny_student):
    rows = _measure(sts, teacher=open_model(tiny_teacher), student=tiny_student, modes=MODES)
    columns = pq.read_table(sts).to_pydict()

    def correlation(model):
        cosines = (model.encode(columns["sentence1"]) * model.encode(columns["sentence2"])).sum(axis=1)
        return 100 * spearmanr(cosines, columns["score"])[0]

    expected = {"teacher": correlation(tiny_teacher), "standard": correlation(tiny_student)}
    assert _scores(rows) == pytest.approx(expected, abs=1e-6)
    assert {(row.type, row.metric, row.queries, row.documents) for row in rows} == {
        ("STS", "cosine_spearman", None, None)
    }


def test_pair_classification_uses_the_best_distance(pairs, tiny_student):
    (row,) = _measure(pairs, teacher=None, student=tiny_student, modes=["standard"])
    columns = pq.read_table(pairs).to_pydict()
    ours, theirs = (tiny_student.encode(columns[name]) for name in ("sentence1", "sentence2"))
    near = [(ours * theirs).sum(axis=1), -np.abs(ours - theirs).sum(axis=1), -np.linalg.norm(ours - theirs, axis=1)]
    assert row.score == pytest.approx(100 * max(average_precision_score(columns["label"], scores) for scores in near))
    assert (row.type, row.metric) == ("PairClassification", "max_ap")


# scikit-learn warns if a classifier of few texts predicts no text of a class.
few_texts = pytest.mark.filterwarnings("ignore:Precision is ill-defined")


@few_texts
def test_classification_uses_logistic_regression(classification, tiny_student):
    (row,) = _measure(classification, teacher=None, student=tiny_student, modes=["standard"])
    train, test = (pq.read_table(classification / f"{name}.parquet").to_pydict() for name in ("train", "test"))
    classifier = LogisticRegression(max_iter=100).fit(tiny_student.encode(train["text"]), train["label"])
    expected = classifier.score(tiny_student.encode(test["text"]), test["label"])
    assert row.score == pytest.approx(100 * expected, abs=0.5)
    assert (row.type, row.metric) == ("Classification", "accuracy")
    assert 34 < row.score < 100  # chance is a third


@few_texts
# mteb's own wrapper calls deprecated functions of mteb and sentence-transformers.
@pytest.mark.filterwarnings("ignore:The fill_missing parameter", "ignore:The `get_sentence_embedding_dimension`")
def test_every_mode_draws_the_same_samples_as_mteb(clustering, classification, tiny_teacher, tiny_student):
    rows = _measure(clustering, classification, teacher=open_model(tiny_teacher), student=tiny_student, modes=MODES)
    for model, mode in ((tiny_teacher, "teacher"), (tiny_student, "standard")):
        tasks = find_tasks([str(clustering), str(classification)])
        plain = mteb.evaluate(
            SentenceTransformerEncoderWrapper(model), tasks, cache=None, co2_tracker=False, show_progress_bar=False
        )
        expected = {result.task_name: 100 * result.get_score() for result in plain.task_results}
        assert {row.set: row.score for row in rows if row.mode == mode} == pytest.approx(expected, abs=1e-9)
    assert {row.type for row in rows} == {"Clustering", "Classification"}


def test_texts_without_a_side_get_only_prompts_for_the_task(sts, tiny_student):
    def score(prompts, default=None):
        model = copy.deepcopy(tiny_student)
        model.prompts, model.default_prompt_name = prompts, default
        (row,) = _measure(sts, teacher=None, student=model, modes=["standard"])
        return row.score

    plain = score({})
    assert score({"query": "find ", "document": "in "}) == plain
    assert score({"query": "find ", "document": "in "}, default="query") != plain
    assert score({"STS": "find "}) == score({"similar": "find "}) != plain


def test_asymmetric_mode_needs_two_sides(retrieval, sts, tiny_teacher, tiny_student, narrow_student):
    rows = _measure(retrieval, sts, teacher=open_model(tiny_teacher), student=tiny_student, modes=MODES)
    assert [(row.set, row.mode) for row in rows] == [
        *((retrieval.name, mode) for mode in MODES),
        ("similar", "teacher"),
        ("similar", "standard"),
    ]
    # Other modes do not need equal widths.
    assert len(_measure(sts, teacher=open_model(tiny_teacher), student=narrow_student, modes=MODES)) == 2
    with pytest.raises(InputError, match="asymmetric: expected a task with queries and documents, found none"):
        _measure(sts, teacher=open_model(tiny_teacher), student=tiny_student, modes=["asymmetric"])


def test_an_aggregated_task_is_one_row(retrieval, tmp_path, tiny_student, tiny_teacher):
    other = tmp_path / "other"
    other.mkdir()
    for file in retrieval.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td3\t1\n")
    parts = [LocalRetrieval(retrieval), LocalRetrieval(other)]

    class Whole(AbsTaskAggregate):
        metadata = AggregateTaskMetadata(
            name="Whole",
            description="Both.",
            tasks=parts,
            main_score="ndcg_at_10",
            type="Retrieval",
            eval_splits=["test"],
        )

    options = {
        "teacher": open_model(tiny_teacher),
        "student": tiny_student,
        "modes": MODES,
        "folder": tmp_path / "results",
    }
    rows = evaluate_tasks([Whole()], **options)
    apart = evaluate_tasks(parts, teacher=open_model(tiny_teacher), student=tiny_student, modes=MODES)
    assert [(row.set, row.mode) for row in rows] == [("Whole", mode) for mode in MODES]
    for row in rows:
        assert row.score == pytest.approx(np.mean([part.score for part in apart if part.mode == row.mode]), abs=1e-3)
        assert row.seconds > 0
        assert row.query_scores == tuple(part.query_scores[0] for part in apart if part.mode == row.mode)
    again = evaluate_tasks([Whole()], **options)
    assert [row.query_scores for row in again] == [row.query_scores for row in rows]
    assert [row.seconds for row in again] == [row.seconds for row in rows]
    assert _scores(again) == pytest.approx(_scores(rows), abs=1e-3)


def test_data_missing_on_the_hub_are_one_error(tiny_student):
    with pytest.raises(InputError, match=r"task STSBenchmark: its data, mteb/stsbenchmark-sts on the hub, cannot be"):
        _measure("STSBenchmark", teacher=None, student=tiny_student, modes=["standard"])


_SPACE = "free some space, or set HF_HOME to a folder"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DatasetGenerationError("failed"), f"No space left on device.*: {_SPACE}"),
        (OSError("Not enough disk space. Needed: 3 GB"), rf"\(Not enough disk space.*\): {_SPACE}"),
        (PermissionError(errno.EACCES, "Permission denied", "lock"), f"Permission denied.*: {_SPACE}"),
        (DatasetNotFoundError("no access"), r"\(no access\): if the data set is gated, ask for access and run `hf"),
        (ConnectionError("no answer"), r"\(no answer\): run the command once with a network connection, or name"),
    ],
)
def test_data_that_cannot_be_loaded_have_the_remedy_of_their_cause(error, message, sts, monkeypatch):
    if isinstance(error, DatasetGenerationError):
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device")

    def load_data(task, **options):
        raise error

    (task,) = find_tasks([str(sts)])
    monkeypatch.setattr(type(task), "load_data", load_data)
    with pytest.raises(InputError, match=rf"task similar: its data, .* on the hub, cannot be loaded .*{message}"):
        loaded(task)


@pytest.mark.parametrize("mode", ["standard", "asymmetric"])
def test_the_encoder_passes_mteb_s_own_check(mode, tiny_teacher, tiny_student):
    embedder = Embedder(teacher=open_model(tiny_teacher), student=tiny_student, modes=[mode])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns about few random texts
        outcome = mteb.mock_run(ModeEncoder(embedder, mode, Identity("us/student", "1")))
    assert outcome.all_passed, outcome.to_markdown()
    assert sum(status is not None for _, status in outcome.items()) > 25


def test_vectors_are_kept_while_a_mode_needs_them(tiny_teacher, tiny_student, counting_teacher):
    teacher = counting_teacher(tiny_teacher)
    embedder = Embedder(teacher=teacher, student=tiny_student, modes=["teacher", "asymmetric"])
    for mode in ("teacher", "asymmetric"):
        first = embedder.embed(mode, "document", ["ab", "cd"])
        embedder.finish(mode)
        assert teacher.seen["document"] == {"ab": 1, "cd": 1}
    np.testing.assert_array_equal(embedder.embed("teacher", "document", ["ab", "cd"]), first)
    assert teacher.seen["document"] == {"ab": 2, "cd": 2}


@pytest.mark.parametrize("modes", [["standard"], MODES])
def test_a_student_and_its_teacher_in_one_model_are_refused(modes, retrieval, tiny_teacher, tiny_student):
    pair, teacher = compose(tiny_student, tiny_teacher), open_model(tiny_teacher)
    with pytest.raises(InputError, match=r"^model: expected one model, found student and teacher in one: name the "):
        _measure(retrieval, teacher=teacher, student=pair, modes=modes)


@pytest.mark.filterwarnings("ignore:An input array is constant")  # of scipy
def test_a_set_without_a_defined_score_is_left_out(sts, retrieval, tiny_student, tmp_path, caplog):
    constant = copy.deepcopy(tiny_student)
    constant.encode = lambda inputs, **_: np.ones((len(inputs), 32), np.float32)
    options = {"teacher": open_model(tiny_student), "student": constant, "modes": ["teacher", "standard"]}
    rows = _measure(sts, retrieval, **options, folder=tmp_path)
    assert "similar is left out, because the score cosine_spearman in mode standard is not defined" in caplog.text
    assert [(row.set, row.mode) for row in rows] == [(retrieval.name, mode) for mode in options["modes"]]
    assert read_rows(tmp_path / TASKS_FILE, Result) == rows
    with pytest.raises(InputError, match="tasks: expected a set with a defined score in each mode, found none: name"):
        evaluate(constant, sts)
