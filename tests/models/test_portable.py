import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from families import save_family
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

from leaf_st.errors import InputError
from leaf_st.models import portable
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.student.asymmetric import compose
from leaf_st.student.build import build_student
from leaf_st.student.static import build_static

TEXTS = ["a small text", "another one which is longer than that", "z"]

# What a consumer runs: leaf_st cannot be imported here, and whatever the libraries have to say is an error.
CONSUMER = """
import sys
sys.modules["leaf_st"] = None
import json, warnings
import numpy as np
warnings.simplefilter("error")
from sentence_transformers import SentenceTransformer
texts, *folders = json.loads(sys.argv[1]), *sys.argv[2:]
for folder in folders:
    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    np.save(folder + "/vectors.npy", model.encode(texts, prompt_name="query"))
    print([type(module).__name__ for module in model], model.max_seq_length)
"""


@pytest.fixture
def student(tiny_teacher_folder):
    return build_student(
        tiny_teacher_folder,
        dimension=48,
        normalized=True,
        layers=(0, 2, 5),
        max_length=21,
        prompts={"query": "find: ", "document": ""},
        device="cpu",
    )


@pytest.fixture
def static(tiny_teacher_folder):
    prompts = {"query": "find: ", "document": ""}
    return build_static(tiny_teacher_folder, dimension=48, normalized=True, prompts=prompts, device="cpu")


def _json(path):
    return json.loads(path.read_text())


def test_layout(tmp_path, student):
    save_portable(student, tmp_path / "model")
    modules = _json(tmp_path / "model" / "modules.json")
    names = ["Transformer", "Pooling", "Dense", "Normalize"]
    assert [module["type"] for module in modules] == [f"sentence_transformers.models.{name}" for name in names]
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Dense", "3_Normalize"]
    assert _json(tmp_path / "model" / "1_Pooling" / "config.json") == {
        "word_embedding_dimension": WIDTH,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    # No more keys than these: old versions hand them all to the constructor of Dense.
    assert _json(tmp_path / "model" / "2_Dense" / "config.json") == {
        "in_features": WIDTH,
        "out_features": 48,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    assert _json(tmp_path / "model" / "sentence_bert_config.json") == {"max_seq_length": 21, "do_lower_case": False}
    assert _json(tmp_path / "model" / "tokenizer_config.json")["model_max_length"] == 21  # transformers.js reads this


def test_layout_of_a_table(tmp_path, static):
    save_portable(static, tmp_path / "model")
    modules = _json(tmp_path / "model" / "modules.json")
    # Not in the root, where versions before 5 expect a Transformer.
    assert [(module["path"], module["type"]) for module in modules] == [
        ("0_StaticEmbedding", "sentence_transformers.models.StaticEmbedding"),
        ("1_Normalize", "sentence_transformers.models.Normalize"),
    ]
    assert {path.name for path in (tmp_path / "model" / "0_StaticEmbedding").iterdir()} == {
        "model.safetensors",
        "tokenizer.json",
    }
    assert {path.name for path in (tmp_path / "model").glob("*.*")} == {
        "config_sentence_transformers.json",
        "modules.json",
    }
    tokenizer = _json(tmp_path / "model" / "0_StaticEmbedding" / "tokenizer.json")
    assert tokenizer["truncation"] is tokenizer["padding"] is None


def test_weights_are_safetensors_only_and_there_is_no_card(tmp_path, student):
    save_portable(student, tmp_path / "model")
    suffixes = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors"}
    assert len(list((tmp_path / "model").rglob("*.safetensors"))) == 2


def test_a_consumer_without_this_package_gets_the_same_vectors(tmp_path, student, static):
    models = {str(tmp_path / "model"): student, str(tmp_path / "static"): static}
    for folder, model in models.items():
        save_portable(model, Path(folder))
    command = [sys.executable, "-I", "-c", CONSUMER, json.dumps(TEXTS), *models]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    layers, table = done.stdout.splitlines()
    assert layers == "['Transformer', 'Pooling', 'Dense', 'Normalize'] 21"
    assert table == "['StaticEmbedding', 'Normalize'] inf"
    assert "warn" not in done.stderr.lower(), done.stderr
    for folder, model in models.items():
        assert np.array_equal(np.load(f"{folder}/vectors.npy"), model.encode(TEXTS, prompt_name="query"))


def test_an_unnormalised_student_ends_in_its_projection(tmp_path, tiny_unnormalized_folder):
    student = build_student(tiny_unnormalized_folder, dimension=WIDTH, normalized=False, device="cpu")
    save_portable(student, tmp_path / "model")
    assert _json(tmp_path / "model" / "modules.json")[-1]["type"] == "sentence_transformers.models.Dense"
    assert not (tmp_path / "model" / "3_Normalize").exists()


def test_a_model_saved_before_is_replaced_whole(tmp_path, student):
    save_portable(student, tmp_path / "runs" / "model")
    (tmp_path / "runs" / "model" / "left_over.json").write_text("{}")
    save_portable(student, tmp_path / "runs" / "model")
    assert not (tmp_path / "runs" / "model" / "left_over.json").exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["model"]


def test_lengths_read_in_training_leave_no_trace_in_the_tokenizer(tmp_path, student):
    save_portable(student, tmp_path / "before")
    student.max_seq_length = 7
    student.encode(TEXTS)
    student.max_seq_length = 21
    save_portable(student, tmp_path / "after")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert _json(tmp_path / "after" / name) == _json(tmp_path / "before" / name)


def test_student_and_teacher_in_one_folder(tmp_path, static, tiny_student, tiny_teacher):
    tiny_student.prompts = {"query": "find: ", "document": ""}
    for name, student in (("layers", tiny_student), ("table", static)):
        teacher = tiny_teacher if name == "layers" else student
        made = compose(student, teacher)
        save_portable(made, tmp_path / name)
        assert [module["type"] for module in _json(tmp_path / name / "modules.json")] == [
            "sentence_transformers.models.Router"
        ]
        config = _json(tmp_path / name / "router_config.json")
        assert {kind.rpartition(".")[0] for kind in config["types"].values()} == {"sentence_transformers.models"}
        # No more than these: the constructor of 5.0 takes no other.
        assert config["parameters"] == {"default_route": "document", "allow_empty_key": True}
        read = SentenceTransformer(str(tmp_path / name), device="cpu")
        for encode in ("encode_query", "encode_document"):
            assert np.array_equal(getattr(read, encode)(TEXTS), getattr(made, encode)(TEXTS))
    folder = tmp_path / "layers"
    assert _json(folder / "query_1_Pooling" / "config.json")["pooling_mode_mean_tokens"]
    assert _json(folder / "query_0_Transformer" / "sentence_bert_config.json")["max_seq_length"] == 64
    for part in ("query", "document"):
        assert _json(folder / f"{part}_0_Transformer" / "tokenizer_config.json")["model_max_length"] == 64
    assert not list((tmp_path / "table").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("mode", "active"),
    [
        ("cls", {"cls_token"}),
        ("lasttoken", {"lasttoken"}),
        (("max", "weightedmean"), {"max_tokens", "weightedmean_tokens"}),
    ],
)
def test_a_teacher_pools_as_it_does(tmp_path, tiny_teacher, mode, active):
    made = SentenceTransformer(modules=[tiny_teacher[0], Pooling(WIDTH, mode, include_prompt=False)], device="cpu")
    save_portable(made, tmp_path / "model")
    config = _json(tmp_path / "model" / "1_Pooling" / "config.json")
    assert {key.removeprefix("pooling_mode_") for key, on in config.items() if on is True} == active
    assert config["include_prompt"] is False
    read = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert read[1].get_config_dict() == made[1].get_config_dict()


def test_the_version_that_reads_it(tmp_path, student, static, tiny_teacher):
    models = {"3.0": student, "3.2": static, "5.0": compose(tiny_teacher, tiny_teacher)}
    for least, model in models.items():
        save_portable(model, tmp_path / least)
        known = _json(tmp_path / least / "config_sentence_transformers.json")["requirements"]
        assert known["sentence_transformers"]["specifier"] == f">={least}"
    save_portable(tiny_teacher, tmp_path / "any")
    assert "requirements" not in _json(tmp_path / "any" / "config_sentence_transformers.json")


@pytest.mark.parametrize("settings", [{}, {"text": {"max_length": 6}}])
def test_a_teacher_that_reads_messages_of_a_chat_reads_them_after_saving(tmp_path, tiny_student, settings):
    folder = save_family("qwen3", tmp_path)
    if not settings:
        (folder / "chat_template.jinja").write_text("{% for m in messages %}user: {{ m['content'] }} end{% endfor %}")
    transformer = Transformer(str(folder), processing_kwargs=settings)
    assert ("message" in transformer.modality_config) is not bool(settings)
    width = tiny_student.get_embedding_dimension()
    teacher = SentenceTransformer(modules=[transformer, Pooling(16, "lasttoken"), Dense(16, width)], device="cpu")
    made = compose(tiny_student, teacher)
    save_portable(made, tmp_path / "pair")
    read = SentenceTransformer(str(tmp_path / "pair"), device="cpu")
    for encode in ("encode_query", "encode_document"):
        assert np.array_equal(getattr(read, encode)(TEXTS), getattr(made, encode)(TEXTS))
    reading = _json(tmp_path / "pair" / "query_0_Transformer" / "sentence_bert_config.json")
    assert reading.keys() == {"max_seq_length", "do_lower_case"}
    config = _json(tmp_path / "pair" / "config_sentence_transformers.json")
    assert config["requirements"]["sentence_transformers"]["specifier"] == ">=5.4"


def test_code_of_a_model_s_own_is_refused(tmp_path, tiny_teacher):
    class Own(Pooling):
        pass

    made = SentenceTransformer(modules=[tiny_teacher[0], Own(WIDTH, "mean")], device="cpu")
    with pytest.raises(InputError, match="Own is custom code, which cannot be loaded"):
        save_portable(made, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (Exception("No space left on device (os error 28)"), OSError),  # as the tokenizers library raises
        (RuntimeError("PytorchStreamWriter failed writing file"), OSError),
        (InputError("another problem"), InputError),
    ],
)
def test_a_full_disk_is_named_whatever_the_library_raises(error, raised, tmp_path, monkeypatch):
    monkeypatch.setattr(portable.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(raised) as caught, portable.unwritable_named(tmp_path):
        raise error
    assert raised is InputError or caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("Error while serializing: I/O error: File too large (os error 27)", errno.EFBIG),
        ("I/O error: Disk quota exceeded (os error 122)", errno.EDQUOT),
        ("[('a', 'b', \"[Errno 27] File too large: 'b'\")]", errno.EFBIG),
    ],
)
def test_a_limit_of_files_is_named_with_space_on_the_disk(message, number, tmp_path, monkeypatch):
    monkeypatch.setattr(portable.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
    with pytest.raises(OSError, match=re.escape(str(tmp_path))) as caught, portable.unwritable_named(tmp_path):
        raise Exception(message)
    assert caught.value.errno == number


def test_another_error_with_space_on_the_disk_keeps_its_type(tmp_path, monkeypatch):
    monkeypatch.setattr(portable.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
    with pytest.raises(KeyError), portable.unwritable_named(tmp_path):
        raise KeyError("name")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_only_a_model_is_replaced(tiny_student, tmp_path, kind):
    place = tmp_path / "mine"
    if kind == "folder":
        place.mkdir()
    notes = place / "notes.txt" if kind == "folder" else place
    notes.write_text("mine")
    with pytest.raises(InputError, match=r"mine: expected a model or an empty folder to replace, found other files"):
        save_portable(tiny_student, place)
    assert notes.read_text() == "mine"
    save_portable(tiny_student, tmp_path / "model")
    save_portable(tiny_student, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", [".git", "checkpoint-500", "runs"])
def test_what_no_model_has_is_not_removed(tiny_student, tmp_path, name):
    folder = tmp_path / "model"
    save_portable(tiny_student, folder)
    (folder / name).mkdir()
    (folder / name / "mine").write_text("mine")
    (folder / "README.md").write_text("mine")
    refusal = rf"model: expected a folder with only a model, which is replaced, found {re.escape(name)}, which would be"
    with pytest.raises(InputError, match=refusal):
        save_portable(tiny_student, folder)
    assert (folder / name / "mine").read_text() == (folder / "README.md").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_downloaded_model_is_replaced(tiny_student, tmp_path):
    folder = tmp_path / "model"
    save_portable(tiny_student, folder)
    before = {path.name for path in folder.iterdir()}
    (folder / ".cache").mkdir()
    for name in (".gitattributes", ".DS_Store", ".modules.json.0a1b2c3d.tmp"):
        (folder / name).write_text("")
    save_portable(tiny_student, folder)
    assert {path.name for path in folder.iterdir()} == before
