from leaf_st.evaluation.beir import BeirSet
from leaf_st.evaluation.beir_sample import sampled


def _set(relevant, documents=100, own=None):
    """A set in which query N has ``relevant[N]`` relevant documents, each its own."""
    numbers = iter(range(documents))
    qrels = {f"q{query}": {f"d{next(numbers)}": 1 for _ in range(count)} for query, count in enumerate(relevant)}
    return BeirSet(
        name="set",
        corpus=[{"id": f"d{number}", "title": "", "text": f"text {number}"} for number in range(documents)],
        queries=[{"id": name, "text": f"question {name}"} for name in qrels],
        qrels=qrels,
        own=own or {},
    )


def test_a_sample_has_the_relevant_documents_of_its_queries_and_others():
    whole = _set([9, 1, 2, 3, 30, 0])
    part = sampled(whole, 20)
    kept = {row["id"] for row in part.corpus}
    assert len(part.corpus) == len(kept) == 20
    assert [row["id"] for row in part.queries] == ["q1", "q2", "q3"]  # 6 of at most 10 relevant documents
    assert part.qrels == {name: whole.qrels[name] for name in ("q1", "q2", "q3")}
    assert all(documents.keys() <= kept for documents in part.qrels.values())
    assert part.corpus == [row for row in whole.corpus if row["id"] in kept]
    assert sampled(whole, 20) == part


def test_a_small_set_is_not_sampled():
    whole = _set([1, 1])
    assert sampled(whole, 100) is whole


def test_the_first_query_is_kept_even_with_many_relevant_documents():
    part = sampled(_set([30, 40]), 20)
    assert [row["id"] for row in part.queries] == ["q0"]
    assert len(part.corpus) == 30


def test_judged_documents_outside_the_corpus_count_as_not_found():
    whole = _set([1, 1])
    whole.qrels["q0"]["elsewhere"] = 1
    part = sampled(whole, 10)
    assert "elsewhere" in part.qrels["q0"]


def test_a_query_that_is_a_document_keeps_its_place():
    part = sampled(_set([1, 1], own={"q0": 50, "q1": 1}), 99)
    for row, place in zip(part.queries, part.own_places, strict=True):
        if place >= 0:
            assert part.corpus[place]["id"] == {"q0": "d50", "q1": "d1"}[row["id"]]
    assert part.own["q1"] == 1 or part.corpus[part.own["q1"]]["id"] == "d1"
