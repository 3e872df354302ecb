from dataclasses import replace

import pytest
from letters import open_model

from leaf_st.errors import InputError
from leaf_st.evaluation.results import Result, require_same_models, write_results
from leaf_st.evaluation.rows import read_rows
from leaf_st.evaluation.sizes import MODELS, Size, read_starts, require_same_sizes, unread_texts, write_sizes
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.runner import evaluate_tasks
from leaf_st.models.identity import Identity, identify


def test_a_student_that_reads_less_than_its_teacher_is_logged(tiny_teacher, tiny_student, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    tiny_student.max_seq_length = 32
    models = {"teacher": tiny_teacher, "student": tiny_student}
    write_sizes(tmp_path, {role: (identify(model), model) for role, model in models.items()})
    assert [row.length for row in read_rows(tmp_path / MODELS, Size)] == [64, 32]
    assert caplog.messages == [unread_texts(read_rows(tmp_path / MODELS, Size))]
    assert caplog.messages[0].startswith("the student reads the first 32 tokens of a text, the teacher 64: ")


@pytest.mark.parametrize("lengths", [(64, 64), (64, 128), (None, 32), (64, None)])
def test_a_student_that_reads_as_much_as_its_teacher_is_not_logged(lengths):
    sizes = [Size(role, "m", "0", 1, 2, length) for role, length in zip(("teacher", "student"), lengths, strict=True)]
    assert unread_texts(sizes) is None


def test_only_a_teacher_that_reads_starts_is_noted():
    teacher = Size("teacher", "m", "0", 0, 2)
    assert read_starts([teacher]) is None
    assert read_starts([replace(teacher, reads_starts=True)]).startswith("the teacher's API reads only the start of a ")


def test_an_evaluation_writes_the_sizes_of_its_models(sts, tiny_teacher, tiny_student, tmp_path):
    tasks = find_tasks([str(sts)])
    evaluate_tasks(tasks, teacher=open_model(tiny_teacher), student=tiny_student, modes=["standard"], folder=tmp_path)
    # The teacher's row is kept.
    evaluate_tasks(tasks, teacher=None, student=tiny_student, modes=["standard"], folder=tmp_path)
    expected = [
        Size(
            role,
            identify(model).name,
            identify(model).revision,
            sum(part.numel() for part in model.parameters()),
            32,
            64,
        )
        for role, model in (("teacher", tiny_teacher), ("student", tiny_student))
    ]
    assert read_rows(tmp_path / MODELS, Size) == expected
    (tmp_path / MODELS).write_text("{}")
    with pytest.raises(InputError, match=r"models\.json: expected a JSON list of measurements \(Size\)"):
        evaluate_tasks(tasks, teacher=None, student=tiny_student, modes=["standard"], folder=tmp_path)


def test_results_with_a_revision_of_an_earlier_version_stay(tiny_student, tmp_path):
    earlier, other = Identity("us/m", "1"), Identity("us/m", "3", "2")
    now = Identity("us/m", "2", "1")
    write_sizes(tmp_path, {"student": (earlier, tiny_student)})
    row = Result("set", "standard", "ndcg_at_10", 50.0, "us/m", None, None, None, None, revision="1")
    write_results(tmp_path / "tasks.json", [row])
    require_same_sizes(tmp_path, {"student": (now, tiny_student)})
    require_same_models(tmp_path / "tasks.json", now, None)
    with pytest.raises(InputError, match=r"contains results of the student us/m \(1\), not of us/m \(3\)"):
        require_same_sizes(tmp_path, {"student": (other, tiny_student)})
    with pytest.raises(InputError, match=r"contains results of us/m \(1\), not of us/m \(3\)"):
        require_same_models(tmp_path / "tasks.json", other, None)
