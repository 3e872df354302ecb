import pytest
from letters import open_model

from leaf_st.errors import InputError
from leaf_st.evaluation.rows import read_rows
from leaf_st.evaluation.sizes import MODELS, Size
from leaf_st.evaluation.tasks.find import find_tasks
from leaf_st.evaluation.tasks.runner import evaluate_tasks
from leaf_st.models.identity import identify


def test_an_evaluation_writes_the_sizes_of_its_models(sts, tiny_teacher, tiny_student, tmp_path):
    tasks = find_tasks([str(sts)])
    evaluate_tasks(tasks, teacher=open_model(tiny_teacher), student=tiny_student, modes=["standard"], folder=tmp_path)
    # The teacher's row is kept.
    evaluate_tasks(tasks, teacher=None, student=tiny_student, modes=["standard"], folder=tmp_path)
    expected = [
        Size(role, *vars(identify(model)).values(), sum(part.numel() for part in model.parameters()), 32)
        for role, model in (("teacher", tiny_teacher), ("student", tiny_student))
    ]
    assert read_rows(tmp_path / MODELS, Size) == expected
    (tmp_path / MODELS).write_text("{}")
    with pytest.raises(InputError, match=r"models\.json: expected a JSON list of measurements \(Size\)"):
        evaluate_tasks(tasks, teacher=None, student=tiny_student, modes=["standard"], folder=tmp_path)
