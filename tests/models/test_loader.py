import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from families import POSITIONS, WIDTH, save_family, save_teacher
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    LSTM,
    Dense,
    Normalize,
    Pooling,
    Router,
    StaticEmbedding,
    Transformer,
    WordEmbeddings,
)
from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer
from torch import nn
from transformers import BertTokenizer, LEDConfig, LEDModel, MptConfig, MptModel, XLNetConfig, XLNetModel

from leaf_st.errors import InputError
from leaf_st.models.load import load_model, set_max_length
from leaf_st.models.portable import save_portable
from leaf_st.models.tokens import max_length_of
from leaf_st.recipe import TeacherSpec
from leaf_st.student.build import build_student
from leaf_st.teacher.open import open_teacher

LONG = "a " * 300


def _load(folder, **options):
    return load_model(folder, device="cpu", **options)


@pytest.mark.parametrize("family", ["roberta", "mpnet", "ibert"])
@pytest.mark.parametrize(("role", "key"), [("teacher", "teacher"), ("student backbone", "student")])
def test_offset_positions_are_not_usable(family, role, key, tmp_path):
    folder = save_family(family, tmp_path)
    assert _load(folder, max_length=POSITIONS).encode(LONG).shape == (WIDTH,)
    assert _load(folder).max_seq_length == POSITIONS
    with pytest.raises(InputError, match=rf"{key}\.max_length: .* reads at most 64 tokens, found 65: set 64 or less"):
        _load(folder, role=role, max_length=POSITIONS + 1)


def test_a_tokenizer_without_a_pad_token_pads_with_its_end_token(tmp_path):
    model = _load(save_family("gpt2", tmp_path))
    texts = ["a", "a longer text"]
    one_by_one = np.stack([model.encode(text) for text in texts])
    np.testing.assert_allclose(model.encode(texts), one_by_one, atol=1e-5)
    student = build_student(tmp_path / "gpt2", dimension=8, normalized=True, device="cpu")
    assert student.encode(texts).shape == (2, 8)


def test_a_tokenizer_without_any_special_token_is_named(tmp_path):
    folder = save_family("gpt2", tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"teacher .*gpt2 cannot encode .* no pad token and no end token"):
        _load(folder, role="teacher")


def test_a_model_without_a_length_reads_complete_texts(tmp_path):
    folder = save_family("t5", tmp_path)
    assert max_length_of(_load(folder)) is None
    teacher = open_teacher(TeacherSpec(model=str(folder), precision="float32"), "cpu")
    assert teacher.fingerprint.max_length is None
    plain = SentenceTransformer(str(folder), device="cpu").encode([LONG, "a"])
    np.testing.assert_allclose(teacher.encode_query([LONG, "a"]), plain, atol=1e-4)


def test_a_static_model_has_no_length(tiny_teacher, tmp_path):
    table = StaticEmbedding(tiny_teacher.tokenizer.backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[table], device="cpu").save_pretrained(str(tmp_path / "table"))
    teacher = open_teacher(TeacherSpec(model=str(tmp_path / "table"), precision="float32"), "cpu")
    assert teacher.fingerprint.max_length is None
    with pytest.raises(InputError, match=r"teacher\.max_length: .* is a static model, .*: leave teacher\.max_length"):
        _load(tmp_path / "table", role="teacher", max_length=32)


class _Reader(nn.Module):
    """A first module of own code, which reads one token for each character."""

    def __init__(self, length):
        super().__init__()
        self.max_seq_length = length


def test_the_length_of_a_module_of_own_code_is_set():
    model = SentenceTransformer(modules=[_Reader(64)], device="cpu")
    set_max_length(model, 16, "teacher", "own")
    assert model.max_seq_length == 16
    with pytest.raises(InputError, match=r"^teacher\.max_length: own reads at most 16 tokens, found 17: set 16 or"):
        set_max_length(model, 17, "teacher", "own")
    model = SentenceTransformer(modules=[_Reader(None)], device="cpu")
    with pytest.raises(InputError, match=r"its own code \(_Reader\), which states no length, found 16: leave teacher"):
        set_max_length(model, 16, "teacher", "own")


@pytest.mark.parametrize("asked", [None, 4])
def test_a_length_among_the_settings_of_the_processor_is_the_length(asked, tiny_teacher_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_teacher_folder, tmp_path / "model"))
    path = folder / "sentence_bert_config.json"
    settings = {"processing_kwargs": {"text": {"max_length": 8, "truncation": True}}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    model = _load(folder, role="teacher", max_length=asked)
    assert model.max_seq_length == (asked or 8)
    assert model.preprocess(["a " * 50])["input_ids"].shape[1] == model.max_seq_length


def test_no_length_of_a_kind_is_above_the_length_that_is_asked_for(tiny_teacher_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_teacher_folder, tmp_path / "model"))
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "query_length": 32, "document_length": 5}))
    for asked, expected in ((None, (32, 5)), (8, (8, 5))):
        model = _load(folder, role="teacher", max_length=asked)
        read = [model.preprocess(["a " * 50], task=kind)["input_ids"].shape[1] for kind in ("query", "document")]
        assert tuple(read) == expected


def test_weights_that_transformers_does_not_read_are_named(tiny_teacher_folder, tmp_path, caplog):
    folder = Path(shutil.copytree(tiny_teacher_folder, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    prefix = next(name for name in weights if "layer.0.attention.self.query.weight" in name).partition("encoder")[0]
    tables = {
        f"{prefix}encoder.layer.{n}.attention.self.distance_embedding.weight": torch.zeros(255, 16) for n in range(6)
    }
    save_file({**weights, **tables}, folder / "model.safetensors", {"format": "pt"})
    _load(folder, role="teacher")
    assert "the installed transformers does not read some weights in its files, such as " in caplog.text
    assert "distance_embedding.weight: the vectors may differ" in caplog.text


def test_a_router_behind_other_modules_needs_both_routes(tiny_teacher_folder, tmp_path):
    routes = {kind: [Dense(32, 8)] for kind in ("query", "doc")}
    modules = [Transformer(str(tiny_teacher_folder)), Pooling(32, "mean"), Router(routes)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path))
    with pytest.raises(InputError, match=r"^teacher .* cannot encode a text: .*document"):
        _load(tmp_path, role="teacher")


@pytest.mark.parametrize(("family", "stated", "said"), [("bert", 8192, 1), ("bert", 64, 0), ("roberta", 66, 0)])
def test_a_stated_length_above_the_positions_is_said(family, stated, said, tmp_path, caplog):
    folder = save_teacher(family, tmp_path)
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_seq_length": stated}))
    assert _load(folder, role="teacher").max_seq_length == POSITIONS
    message = (
        f"teacher {folder} reads 64 tokens of a text, the positions of transformers' class BertModel: its files state "
        "8,192"
    )
    assert [record.message for record in caplog.records if record.name.startswith("leaf_st")] == [message] * said


def test_a_longrope_reads_the_positions_of_which_no_other_text_changes_a_vector(tmp_path, caplog):
    folder = save_teacher("llama", tmp_path)
    path = folder / "config.json"
    rope = {"rope_type": "longrope", "rope_theta": 100.0, "original_max_position_embeddings": 16}
    config = json.loads(path.read_text())
    half = config["hidden_size"] // config["num_attention_heads"] // 2
    rope |= {"short_factor": [1.0] * half, "long_factor": [8.0] * half}
    path.write_text(json.dumps({**config, "rope_parameters": rope}))
    model = _load(folder, role="teacher")
    assert model.max_seq_length == 16
    assert "reads 16 tokens of a text" in caplog.text
    texts = ["text of some cats", " ".join(["a"] * 40)]
    np.testing.assert_allclose(model.encode(texts)[0], model.encode(texts[:1])[0], atol=1e-5)


def test_the_positions_of_mpt_have_another_name(tiny_teacher_folder, tmp_path):
    tokenizer = BertTokenizer.from_pretrained(tiny_teacher_folder)
    tokenizer.model_max_length = int(1e30)
    config = MptConfig(vocab_size=len(tokenizer), d_model=16, n_layers=2, n_heads=2, max_seq_len=48)
    for part in (MptModel(config), tokenizer):
        part.save_pretrained(tmp_path)
    model = _load(tmp_path)
    assert model.max_seq_length == 48
    assert np.isfinite(model.encode("a " * 100)).all()
    student = build_student(tmp_path, dimension=16, normalized=True, layers=(1,), max_length=32, device="cpu")
    assert student.max_seq_length == 32


def test_the_positions_of_led_have_another_name(tiny_teacher_folder, tmp_path):
    tokenizer = BertTokenizer.from_pretrained(tiny_teacher_folder)
    tokenizer.model_max_length = int(1e30)
    sizes = {
        f"{part}_{what}": 2 for part in ("encoder", "decoder") for what in ("layers", "attention_heads", "ffn_dim")
    }
    positions = {f"max_{part}_position_embeddings": 64 for part in ("encoder", "decoder")}
    config = LEDConfig(vocab_size=len(tokenizer), d_model=16, attention_window=8, **sizes, **positions)
    for part in (LEDModel(config), tokenizer):
        part.save_pretrained(tmp_path)
    model = _load(tmp_path)
    assert model.max_seq_length == 64
    assert np.isfinite(model.encode("a " * 100)).all()


def _removed_class(folder):
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.models.BERT"
    (folder / "modules.json").write_text(json.dumps(modules))


def _other_width(folder):
    config = json.loads((folder / "2_Dense" / "config.json").read_text())
    (folder / "2_Dense" / "config.json").write_text(json.dumps({**config, "out_features": 5}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_removed_class, "ImportError: .*BERT.*; install the package or the version that the model needs"),
        (_other_width, "RuntimeError: .*size mismatch for linear.weight.*; check the model's files"),
    ],
)
@pytest.mark.parametrize("role", ["teacher", "student backbone", "student.start", "model"])
def test_a_model_that_cannot_be_loaded_is_one_line(tiny_student, tmp_path, damage, reason, role):
    folder = tmp_path / "model"
    save_portable(tiny_student, folder)
    damage(folder)
    with pytest.raises(InputError, match=rf"^{role} {folder} cannot be loaded .*{reason}, or name another") as raised:
        _load(folder, role=role)
    assert "\n" not in str(raised.value)


def test_a_model_that_cannot_encode_is_one_line(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    transformer = Transformer(str(tiny_teacher_folder))
    modules = [transformer, Pooling(32, "mean"), Dense(7, 7, activation_function=nn.Identity()), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    with pytest.raises(InputError, match=r"^teacher .* cannot encode a text: RuntimeError: .*name another teacher"):
        _load(folder, role="teacher")


def test_a_model_that_fails_only_at_some_lengths_is_one_line(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    for name, changes in (
        ("config.json", {"chunk_size_feed_forward": 3}),
        ("sentence_bert_config.json", {"max_seq_length": 63}),
    ):
        settings = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps(settings))
    with pytest.raises(
        InputError, match=r"^teacher .* cannot encode a text: ValueError: .*multiple of the chunk size 3"
    ):
        _load(folder, role="teacher")


def test_a_tokenizer_that_fails_at_an_unknown_word_is_one_line(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["model"]["unk_token"] = "[NONE]"
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[NONE]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"^teacher .* cannot encode a text: .*Missing \[UNK\] token.*; check the mod"):
        _load(folder, role="teacher")


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu", "RuntimeError: Expected one of cpu, cuda, "),
        ("cuda:99", "(AssertionError: Torch not compiled with CUDA|RuntimeError|AcceleratorError)"),
    ],
)
def test_a_device_that_torch_cannot_use_is_named(tiny_teacher_folder, device, said):
    message = rf"^device: expected a device that torch can use here, found '{device}' \({said}.*\): name another device"
    with pytest.raises(InputError, match=message):
        open_teacher(TeacherSpec(model=str(tiny_teacher_folder)), device)


def test_a_teacher_that_cannot_compute_in_bfloat16_names_the_precision(tiny_teacher_folder, tmp_path):
    config = XLNetConfig(vocab_size=4000, d_model=16, n_layer=1, n_head=2, d_inner=16)
    XLNetModel(config).save_pretrained(tmp_path / "xlnet")
    for path in tiny_teacher_folder.glob("*token*"):
        shutil.copy(path, tmp_path / "xlnet")
    modules = [Transformer(str(tmp_path / "xlnet")), Pooling(16, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "teacher"))
    with pytest.raises(InputError, match=r"cannot encode a text: .*BFloat16; set teacher\.precision=float32, or name"):
        _load(tmp_path / "teacher", role="teacher", precision="bfloat16")
    assert _load(tmp_path / "teacher", role="teacher").encode("a").shape == (16,)


def test_a_token_without_embedding_is_named(tiny_teacher_folder, tmp_path):
    model = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    rows = model[0].model.get_input_embeddings().num_embeddings
    model.tokenizer.add_tokens([f"<{number}>" for number in range(rows + 1 - len(model.tokenizer))])
    token = model.tokenizer.convert_ids_to_tokens(rows)
    model.save_pretrained(str(tmp_path / "more"))
    more = _load(tmp_path / "more", role="teacher")
    np.testing.assert_array_equal(more.encode("a text"), model.encode("a text"))
    message = rf"^teacher .*more cannot encode .* below {rows}, .* '{token}' with the number {rows}: call resize"
    with pytest.raises(InputError, match=message):
        more.encode(["a text", f"a {token}"])
    model[0].model.resize_token_embeddings(rows + 1)
    model.save_pretrained(str(tmp_path / "resized"))
    assert _load(tmp_path / "resized").encode(token).shape == (32,)


@pytest.mark.parametrize("length", ["64", 0, -3, 1.5, True, {}])
def test_a_length_that_is_no_number_of_tokens_is_named(tiny_teacher_folder, length, tmp_path):
    path = shutil.copytree(tiny_teacher_folder, tmp_path / "model") / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_seq_length": length}))
    with pytest.raises(InputError, match=rf"max_seq_length in {path} to be a whole number .* found {length!r}: corr"):
        _load(path.parent)


@pytest.mark.parametrize("length", ["64", 0, -1, 64.0, True])
def test_a_length_of_the_tokenizer_that_is_no_number_of_tokens_is_named(tiny_teacher_folder, length, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    path, own = folder / "tokenizer_config.json", folder / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": length}))
    settings = {key: value for key, value in json.loads(own.read_text()).items() if key != "max_seq_length"}
    own.write_text(json.dumps(settings))
    with pytest.raises(InputError, match=rf"model_max_length in {path} to be a whole number .* found {length!r}: corr"):
        _load(folder)
    own.write_text(json.dumps({**settings, "max_seq_length": 9}))  # replaces the tokenizer's
    assert _load(folder).max_seq_length == 9


@pytest.mark.parametrize("length", [1e30, int(1e30), None])
def test_a_tokenizer_may_have_no_limit(tiny_teacher_folder, length, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": length}))
    (folder / "sentence_bert_config.json").write_text("{}")
    assert _load(folder).max_seq_length == _load(folder)[0].model.config.max_position_embeddings


@pytest.mark.parametrize("length", [10**30, 2000])
def test_a_length_above_the_positions_is_the_number_of_positions(tiny_teacher_folder, length, tmp_path):
    path = shutil.copytree(tiny_teacher_folder, tmp_path / "model") / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_seq_length": length}))
    model = _load(path.parent)
    assert model.max_seq_length == model[0].model.config.max_position_embeddings


@pytest.mark.parametrize("length", [1, 2])
def test_a_length_without_room_for_a_token_of_the_text_is_refused(tiny_teacher_folder, length, tmp_path):
    path = shutil.copytree(tiny_teacher_folder, tmp_path / "model") / "sentence_bert_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_seq_length": length}))
    message = rf"max_seq_length in {path} to be more than the 2 special tokens of each text, found {length}: correct"
    with pytest.raises(InputError, match=message):
        open_teacher(TeacherSpec(model=str(path.parent), precision="float32"), "cpu")
    message = (
        r"^teacher\.max_length: expected more tokens than the 2 special ones .* found 1: raise teacher\.max_length"
    )
    with pytest.raises(InputError, match=message):
        _load(path.parent, role="teacher", max_length=1)
    assert _load(path.parent, max_length=3).max_seq_length == 3


def test_prompts_and_precision_are_those_asked_for(tiny_teacher, tmp_path):
    tiny_teacher.prompts = {"query": "find: ", "document": "doc: ", "sts": "compare: "}
    save_portable(tiny_teacher, tmp_path / "model")
    model = _load(tmp_path / "model", prompts={"query": ""}, precision="bfloat16", max_length=9)
    assert model.prompts == {"query": "", "document": "doc: ", "sts": "compare: "}
    assert model.dtype == torch.bfloat16
    assert model.max_seq_length == 9


def test_a_teacher_that_scores_texts_is_refused(tmp_path):
    folder = save_family("bert", tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["BertForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"^teacher .*: expected a model of embeddings, found BertForSeq.*: name"):
        _load(folder, role="teacher")
    assert _load(folder, role="student backbone").encode("a").shape == (WIDTH,)


def test_a_teacher_of_sparse_vectors_is_refused(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "SparseEncoder"}))
    with pytest.raises(InputError, match=r"^teacher .*: expected a model of dense embeddings, found a SparseEncoder"):
        _load(folder, role="teacher")
    assert _load(folder, role="student backbone").get_embedding_dimension() == 32


@pytest.mark.parametrize("role", ["teacher", "student backbone", "student.start"])
def test_a_missing_weight_is_named(tiny_teacher_folder, tmp_path, caplog, role):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    for layer in (1, 3):
        del weights[f"encoder.layer.{layer}.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = rf"^{role} .*: expected all weights, found none for encoder\.layer\.\{{1, 3\}}\.output\.dense\.weight"
    with pytest.raises(InputError, match=message):
        _load(folder, role=role)
    assert "transformers.modeling_utils" not in {record.name for record in caplog.records}


@pytest.mark.parametrize(
    ("role", "remedy"),
    [
        ("teacher", r"if you trust this code, set teacher\.trust_remote_code=true in .*, or name another teacher"),
        ("student backbone", r"check the model's files, or name another student backbone"),
    ],
)
def test_a_weight_that_only_the_own_code_of_a_model_lacks_names_the_code(tmp_path, role, remedy):
    folder = save_family("nomic-bert", tmp_path)
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "mlp" not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    code = {"AutoConfig": "us/code--configuration.NomicBertConfig", "AutoModel": "us/code--modeling.NomicBertModel"}
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": code}
    (folder / "config.json").write_text(json.dumps(config))
    message = rf"which would be random: .* custom code \(us/code--modeling\.NomicBertModel\); {remedy}$"
    with pytest.raises(InputError, match=message):
        _load(folder, role=role)


@pytest.mark.parametrize("prefix", ["module.", "encoder_q."])
def test_weights_with_another_prefix_are_named_by_the_prefix(tiny_teacher_folder, tmp_path, prefix):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    weights = {f"{prefix}{name}": weight for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = f"expected all weights, found names that begin with '{prefix}'.*: remove '{prefix}' from the names in the"
    with pytest.raises(InputError, match=message) as raised:
        _load(folder)
    assert ("DataParallel" in str(raised.value)) == (prefix == "module.")


def test_a_long_list_of_missing_weights_is_shortened(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "layer.5" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        InputError, match=r"found none for (encoder\.layer\.5\.[\w.]+(, | and )){4}12 others, which would"
    ):
        _load(folder)


@pytest.mark.parametrize("kept", [1, 4, 6])
def test_layers_of_the_files_that_are_not_used_are_counted(tiny_teacher_folder, tmp_path, caplog, kept):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    head = {"cls.predictions.bias": torch.zeros(1), "mtp.layers.0.bias": torch.zeros(1)}
    save_file(weights | head, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": kept}
    (folder / "config.json").write_text(json.dumps(config))
    _load(folder)
    _load(folder)
    said = [f"model {folder} is used without {6 - kept} of the layers in its files"] if kept < 6 else []
    ours = [record.message for record in caplog.records if record.name.startswith("leaf_st")]
    assert [message.partition(":")[0] for message in ours] == said


def test_the_weights_of_an_unused_pooler_may_be_missing(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("pooler")}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(_load(folder).encode("a"), _load(tiny_teacher_folder).encode("a"))


def test_a_dimension_that_the_vectors_do_not_have_is_named(tiny_teacher_folder, tmp_path):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    path = folder / "1_Pooling" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "embedding_dimension": 64}))
    with pytest.raises(
        InputError, match=r"^model .*: expected vectors of dimension 64, which .* state, found 32: correct"
    ):
        _load(folder)


@pytest.mark.parametrize(
    ("precision", "remedy"), [("float32", "check"), ("bfloat16", "set teacher.precision=float32, or")]
)
def test_weights_that_are_not_finite_are_named(tiny_teacher_folder, tmp_path, precision, remedy):
    folder = shutil.copytree(tiny_teacher_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.3.output.dense.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        InputError, match=rf"^teacher .*: expected finite vectors, found NaN or infinite values: {remedy}"
    ):
        _load(folder, role="teacher", precision=precision)


def test_a_model_without_a_finite_vector_of_an_unknown_word_is_named(tmp_path):
    tokenizer = WhitespaceTokenizer(["cats"])
    words = WordEmbeddings(tokenizer, np.ones((1, 8), dtype=np.float32), max_seq_length=4)
    model = SentenceTransformer(modules=[words, LSTM(8, 4, 1, 0.0, True), Pooling(8, "max")], device="cpu")
    model.save_pretrained(str(tmp_path / "model"))
    with pytest.raises(InputError, match="found NaN or infinite values for a text of words that the model may not kn"):
        _load(tmp_path / "model", role="teacher")


@pytest.mark.parametrize(("role", "said"), [("teacher", 1), ("student backbone", 0)])
def test_the_pooling_of_a_teacher_without_modules_is_said(tmp_path, caplog, role, said):
    folder = save_family("bert", tmp_path)
    _load(folder, role=role)
    message = f"teacher {folder} has no modules.json, which states the pooling: the mean of its tokens' vectors is used"
    assert [record.message for record in caplog.records if record.name.startswith("leaf_st")] == [message] * said


def test_the_pooling_of_a_causal_teacher_without_modules_is_said(tmp_path, caplog):
    folder = save_family("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert _load(folder, role="teacher")[1].pooling_mode == "lasttoken"
    message = f"teacher {folder} has no modules.json, which states the pooling: the vector of its last token is used"
    assert [record.message for record in caplog.records if record.name.startswith("leaf_st")] == [message]
