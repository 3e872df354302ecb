import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leaf_st.errors import InputError
from leaf_st.evaluation.tasks.find import find_tasks


def _names(*names):
    return [task.metadata.name for task in find_tasks([str(name) for name in names])]


def test_benchmarks_tasks_and_paths_are_found_by_name(sts, retrieval):
    assert _names("STSBenchmark", sts, retrieval) == ["STSBenchmark", "similar", retrieval.name]
    nano = _names("NanoBEIR")
    assert len(nano) == 13
    assert _names("NanoSciFactRetrieval", "NanoBEIR", "NanoBEIR")[0] == "NanoSciFactRetrieval"
    assert len(_names("NanoSciFactRetrieval", "NanoBEIR", "NanoBEIR")) == 13
    assert {task.metadata.type for task in find_tasks(["MTEB(eng, v2)"])} == {
        *("Classification", "Clustering", "PairClassification"),
        *("Reranking", "Retrieval", "STS", "Summarization"),
    }
    assert "CQADupstackRetrieval" in _names("BEIR")


def test_an_unknown_name_gets_suggestions():
    with pytest.raises(InputError, match=r"task nanobier: expected a file, .*; did you mean NanoBEIR or "):
        find_tasks(["nanobier"])
    with pytest.raises(InputError, match=r"task scifakt: .*; did you mean SciFact"):
        find_tasks(["STSBenchmark", "scifakt"])
    expected = (
        "task ./none/such: expected a file, a folder, or a task of mteb, found nothing with this name: check the name"
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        find_tasks(["./none/such"])


def test_a_misspelled_path_gets_a_suggestion(sts):
    with pytest.raises(InputError, match=rf"found nothing with this name; did you mean {sts}"):
        find_tasks([str(sts.with_name("simmilar.parquet"))])


def test_two_sets_of_the_same_name_are_refused(sts, tmp_path):
    shutil.copy(sts, tmp_path / "similar.parquet")
    assert _names(sts, sts) == ["similar"]
    with pytest.raises(InputError, match=r"have the same name, similar: measure them one by one"):
        find_tasks([str(sts), str(tmp_path / "similar.parquet")])


def test_a_task_with_other_subsets_is_refused():
    for names in (["STS17", "MTEB(eng, v2)"], ["MTEB(eng, v2)", "STS17"]):
        with pytest.raises(InputError, match=r"task STS17 is selected twice, with different parts \(ar-ar, .*\): meas"):
            find_tasks(names)


def test_private_data_are_named_before_any_text_is_embedded():
    with pytest.raises(InputError, match=r"tasks Code1Retrieval, .*: their data are private: name other tasks"):
        find_tasks(["RTEB(beta)"])


def test_no_name_is_refused():
    with pytest.raises(InputError, match="tasks: expected at least one set or task, found none: name one"):
        find_tasks([])


def test_an_unusable_local_set_is_reported_at_once(sts, tmp_path):
    bad = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [1.0, 1.0]}), bad)
    with pytest.raises(InputError, match=r"bad\.parquet: expected at least two different values of score"):
        find_tasks([str(sts), str(bad)])


def test_image_tasks_are_refused():
    with pytest.raises(InputError, match=r"task CIFAR10: expected a task of texts, found image"):
        find_tasks(["CIFAR10"])
