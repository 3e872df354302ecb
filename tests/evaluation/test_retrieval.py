import copy
import json
import socket
from collections import Counter

import datasets
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.beir import load_beir
from leaf_st.evaluation.retrieval import evaluate_retrieval
from leaf_st.student.static import build_static
from leaf_st.teacher.tiny import WIDTH

MODES = ("teacher", "standard", "asymmetric")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 documents and 6 queries of random letters, with random grades from 0 to 2."""
    folder, draw = tmp_path_factory.mktemp("tiny"), np.random.default_rng(0)

    def words(count):
        return " ".join("".join(draw.choice(list("abcdefgh"), 3)) for _ in range(count))

    # Every third document has no title, and two documents are equal.
    corpus = [{"_id": f"d{i}", "title": words(1) if i % 3 else "", "text": words(5)} for i in range(40)]
    corpus[1] = {**corpus[2], "_id": "d1"}
    queries = [{"_id": f"q{i}", "text": words(2)} for i in range(6)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [(f"q{i}", f"d{j}", draw.integers(3)) for i in range(6) for j in draw.choice(40, 12, replace=False)]
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judged)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def _ndcg_at_10(beir, queries, documents):
    """nDCG@10 in percent, from its definition, of vectors of norm 1."""
    scores = []
    for row, query in enumerate(beir.queries):
        grades = beir.qrels[query["id"]]
        order = np.argsort(-(documents @ queries[row]))[:10]
        found = [grades.get(beir.corpus[index]["id"], 0) for index in order]
        best = sorted(grades.values(), reverse=True)[:10]
        gains = [sum(grade / np.log2(rank + 2) for rank, grade in enumerate(ranks)) for ranks in (found, best)]
        scores.append(gains[0] / gains[1])
    return 100 * np.mean(scores)


def _vectors(model, beir, prompt=""):
    queries = model.encode([prompt + row["text"] for row in beir.queries])
    documents = model.encode([f"{row['title']} {row['text']}".strip() for row in beir.corpus])
    return queries, documents


def test_scores_equal_the_definition(folder, tiny_teacher, tiny_student):
    beir = load_beir(folder)
    results = evaluate_retrieval(folder, teacher=tiny_teacher, student=tiny_student, modes=MODES)
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


def test_rows_say_what_was_measured(folder, tiny_teacher, tiny_student):
    student = copy.deepcopy(tiny_student)
    student.model_card_data.set_model_id("us/student")
    first, second = evaluate_retrieval(folder, teacher=tiny_teacher, student=student, modes=["teacher", "standard"])
    assert (first.set, first.metric, first.queries, first.documents) == (folder.name, "ndcg_at_10", 6, 40)
    assert first.model == first.teacher == second.teacher == tiny_teacher.transformers_model.config._name_or_path
    assert second.model == "us/student"
    assert first.seconds > 0


def test_a_table_of_tokens_is_measured_like_any_other(folder, tiny_teacher, tiny_teacher_folder):
    torch.manual_seed(4)
    table = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    results = evaluate_retrieval(folder, teacher=tiny_teacher, student=table, modes=["standard", "asymmetric"])
    beir = load_beir(folder)
    (queries, documents), (_, theirs) = _vectors(table, beir), _vectors(tiny_teacher, beir)
    expected = [_ndcg_at_10(beir, queries, documents), _ndcg_at_10(beir, queries, theirs)]
    assert [row.score for row in results] == pytest.approx(expected, abs=1e-3)


def test_the_model_s_prompts_are_used(folder, tiny_student):
    prompted = copy.deepcopy(tiny_student)
    prompted.prompts["query"] = "find "
    (result,) = evaluate_retrieval(folder, teacher=None, student=prompted, modes=["standard"])
    beir = load_beir(folder)
    assert result.score == pytest.approx(_ndcg_at_10(beir, *_vectors(tiny_student, beir, "find ")), abs=1e-3)


class CountingModel(SentenceTransformer):
    """Counts the texts that it encodes, by side."""

    def encode_query(self, inputs, **kwargs):
        self.seen["query"].update(inputs)
        return super().encode_query(inputs, **kwargs)

    def encode_document(self, inputs, **kwargs):
        self.seen["document"].update(inputs)
        return super().encode_document(inputs, **kwargs)


def _counting(model):
    counting = CountingModel(modules=list(model), device="cpu")
    counting.seen = {"query": Counter(), "document": Counter()}
    return counting


def test_each_text_is_encoded_once(folder, tiny_teacher, tiny_student):
    teacher, student = _counting(tiny_teacher), _counting(tiny_student)
    evaluate_retrieval(folder, teacher=teacher, student=student, modes=MODES)
    for model in (teacher, student):
        assert {side: len(seen) for side, seen in model.seen.items()} == {"query": 6, "document": 39}
        assert {count for seen in model.seen.values() for count in seen.values()} == {1}


def test_a_mode_encodes_only_what_it_needs(folder, tiny_teacher, tiny_student):
    teacher, student = _counting(tiny_teacher), _counting(tiny_student)
    evaluate_retrieval(folder, teacher=teacher, student=student, modes=["asymmetric"])
    assert not teacher.seen["query"]
    assert not student.seen["document"]


def test_no_network_and_one_progress_bar(folder, tiny_student, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    evaluate_retrieval(folder, teacher=None, student=tiny_student, modes=["standard"])
    written = capsys.readouterr()
    assert written.out == ""
    assert f"{folder.name}: 100%" in written.err
    assert written.err.count("\n") == 1
    assert not datasets.are_progress_bars_disabled()


def test_student_modes_need_no_common_width_unless_asymmetric(folder, tiny_teacher, narrow_student):
    results = evaluate_retrieval(folder, teacher=tiny_teacher, student=narrow_student, modes=["teacher", "standard"])
    assert [row.mode for row in results] == ["teacher", "standard"]
    with pytest.raises(InputError, match="teacher gives 32 dimensions, student gives 16"):
        evaluate_retrieval(folder, teacher=tiny_teacher, student=narrow_student, modes=["asymmetric"])


def test_modes_must_be_known_and_have_their_teacher(folder, tiny_student):
    with pytest.raises(InputError, match="mode 'both' is unknown: expected one of teacher, standard, asymmetric"):
        evaluate_retrieval(folder, teacher=None, student=tiny_student, modes=["both"])
    with pytest.raises(InputError, match="mode asymmetric needs the teacher"):
        evaluate_retrieval(folder, teacher=None, student=tiny_student, modes=["asymmetric"])


def test_nan_vectors_are_named(folder, tiny_student):
    broken = copy.deepcopy(tiny_student)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="the student gives NaN or infinite numbers for 6 of 6 texts"):
        evaluate_retrieval(folder, teacher=None, student=broken, modes=["standard"])
