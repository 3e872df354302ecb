import numpy as np
import pytest
from letters import open_model

from leaf_st.errors import InputError
from leaf_st.evaluation.search import Hit, format_hits, search
from leaf_st.student.asymmetric import compose

DOCUMENTS = ["abc abd", "hgf hhh", "a b c", "zzz yyy", "bcd efg hij", "kl mn op"]


def test_lists_are_ordered_by_cosine(tiny_teacher, tiny_student):
    found = search("ab cd", DOCUMENTS, student=tiny_student, teacher=open_model(tiny_teacher), k=4)
    assert list(found) == ["teacher", "standard", "asymmetric"]
    sides = {
        "teacher": (tiny_teacher, tiny_teacher),
        "standard": (tiny_student, tiny_student),
        "asymmetric": (tiny_student, tiny_teacher),
    }
    for mode, (asks, stores) in sides.items():
        cosines = stores.encode(DOCUMENTS) @ asks.encode("ab cd")
        order = np.argsort(-cosines)[:4]
        assert [hit.row for hit in found[mode]] == order.tolist()
        assert [hit.score for hit in found[mode]] == pytest.approx(cosines[order], abs=1e-5)
        assert [hit.rank for hit in found[mode]] == [1, 2, 3, 4]
        assert all(hit.text == DOCUMENTS[hit.row] for hit in found[mode])


def test_without_a_teacher_there_is_one_list(tiny_student):
    found = search("ab cd", DOCUMENTS, student=tiny_student, teacher=None)
    assert list(found) == ["standard"]
    assert len(found["standard"]) == len(DOCUMENTS)


def test_student_and_teacher_in_one_model_search_together(tiny_student, tiny_teacher):
    pair = compose(tiny_student, tiny_teacher)
    found = search("ab cd", DOCUMENTS, student=pair, teacher=None)["standard"]
    cosines = tiny_teacher.encode(DOCUMENTS) @ tiny_student.encode("ab cd")
    assert [hit.row for hit in found] == np.argsort(-cosines).tolist()


def test_a_query_without_a_token_is_refused(tiny_student, monkeypatch):
    monkeypatch.setattr(tiny_student, "encode_query", lambda texts, **_: np.zeros((len(texts), 32), np.float32))
    with pytest.raises(
        InputError, match="a query with a token that the student knows, found '123', whose vector is zero"
    ):
        search("123", DOCUMENTS, student=tiny_student, teacher=None)


def test_no_documents_is_an_error(tiny_student):
    with pytest.raises(InputError, match="expected documents, found none"):
        search("ab", [], student=tiny_student, teacher=None)


def test_widths_must_match(tiny_teacher, narrow_student):
    with pytest.raises(InputError, match="teacher's vectors have 32 dimensions, the student's have 16"):
        search("ab", DOCUMENTS, student=narrow_student, teacher=open_model(tiny_teacher))


def test_format_counts_the_overlap():
    hits = {
        "teacher": [Hit(1, 0.59041, 3, "one\nline"), Hit(2, 0.5, 1, "x" * 101)],
        "standard": [Hit(1, 0.6, 3, "one\nline"), Hit(2, 0.4, 0, "other")],
    }
    assert format_hits(hits, 52).splitlines() == [
        "teacher                    standard: 1 of 2 shared",
        " 1 0.590 one line           1 0.600 one line",
        " 2 0.500 xxxxxxxxxxxxx...   2 0.400 other",
    ]


def test_format_without_a_teacher():
    assert format_hits({"standard": [Hit(1, 0.6, 0, "text")]}, 80) == "standard\n 1 0.600 text"
