import pytest
from families import save_family

from leaf_st.errors import InputError
from leaf_st.export.export import check_exportable
from leaf_st.models.load import load_model
from leaf_st.student.build import build_student


def _build(folder, **options):
    return build_student(folder, dimension=8, normalized=True, device="cpu", **options)


def test_a_tokenizer_written_in_python_is_refused(tmp_path):
    folder = save_family("byt5", tmp_path)
    with pytest.raises(
        InputError, match=r"^student backbone .*byt5: expected a fast tokenizer .* \(ByT5Tokenizer\): name"
    ):
        _build(folder)


def test_own_code_is_refused(tmp_path):
    folder = save_family("new", tmp_path)
    with pytest.raises(InputError, match=r"^student backbone .*new: expected a model type .* \(NewModel\), .*: name"):
        _build(folder, trust_remote_code=True)


@pytest.mark.parametrize(
    ("role", "remedy"),
    [
        ("teacher", r"set teacher\.trust_remote_code=true in .*, or name another teacher"),
        ("student backbone", "name another"),
    ],
)
def test_own_code_does_not_run_unasked(role, remedy, tmp_path):
    folder = save_family("new", tmp_path)
    expected = f"^{role} .*: expected a model type of transformers, found custom code.*{remedy}"
    with pytest.raises(InputError, match=expected):
        load_model(folder, role=role, device="cpu")


def test_a_model_type_that_torch_cannot_export_is_refused_before_the_export(tmp_path):
    pytest.importorskip("onnxruntime")
    student = _build(save_family("longformer", tmp_path))
    with pytest.raises(InputError, match=r"^export: expected a model type .* found longformer, .*: run the model with"):
        check_exportable(student)
