"""The checksums of a model folder: a changed file is named before the model is loaded."""

import json
from pathlib import Path

import pytest

from leaf_st.errors import InputError
from leaf_st.models.intact import forget_files, record_files, require_intact
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.run_folder import RECIPE, read_record


@pytest.fixture
def folder(tiny_student, tmp_path):
    save_portable(tiny_student, tmp_path / "model", {"teacher": "tiny"})
    return tmp_path / "model"


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_every_file_of_a_saved_model_is_checked(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != RECIPE]
    assert "model.safetensors" in {path.name for path in files}
    require_intact(folder)
    for path in files:
        _flip(path)
        with pytest.raises(InputError, match=rf"{path} is damaged: .*make it again"):
            load_model(str(folder))
        _flip(path)
    assert load_model(str(folder)).encode("leaf").shape == (32,)


def test_a_missing_file_is_named_if_it_can_change_a_vector(folder):
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"graph")
    (folder / "chat_template.jinja").write_text("user: ")  # which no student reads
    record_files(folder, [Path("onnx/model.onnx")])
    (folder / "onnx" / "model.onnx").unlink()
    (folder / "README.md").unlink(missing_ok=True)
    record_files(folder, [Path("chat_template.jinja")])
    (folder / "chat_template.jinja").unlink()
    require_intact(folder)
    for name in ("config.json", "tokenizer_config.json", "modules.json", "1_Pooling/config.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(InputError, match=rf"^{folder / name} is missing: .*restore the file"):
            require_intact(folder)
        (folder / name).write_bytes(content)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"expected a tokenizer in .*, such as tokenizer\.json, found no file"):
        load_model(str(folder))


def test_files_are_added_and_forgotten(folder):
    (folder / "onnx").mkdir()
    graph = folder / "onnx" / "model.onnx"
    graph.write_bytes(b"graph")
    names = [graph.relative_to(folder), graph.relative_to(folder).with_name("missing.onnx")]
    record_files(folder, names)
    assert "onnx/missing.onnx" not in read_record(folder)["file_checksums"]
    graph.write_bytes(b"other")
    with pytest.raises(InputError, match=r"model\.onnx is damaged"):
        require_intact(folder)
    forget_files(folder, names)
    require_intact(folder)
    assert read_record(folder)["teacher"] == "tiny"


def test_a_model_without_checksums_is_not_checked(folder):
    for record in ({"teacher": "tiny"}, {"file_checksums": ["of another program"]}):
        (folder / RECIPE).write_text(json.dumps(record))
        require_intact(folder)
    (folder / RECIPE).unlink()
    record_files(folder, [folder / "config.json"])
    assert not (folder / RECIPE).exists()
