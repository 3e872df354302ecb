"""A text has one vector, whatever the texts beside it in a batch."""

import json

import pytest
from families import WIDTH, save_family
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import CNN, Dropout, Pooling, Transformer
from transformers import BertTokenizer, MobileBertConfig, MobileBertModel, ReformerConfig, ReformerModel

from leaf_st.errors import InputError
from leaf_st.models.load import load_model
from leaf_st.models.random_weights import save_tiny_teacher


@pytest.mark.parametrize("family", ["fnet", "convbert", "canine"])
@pytest.mark.parametrize("role", ["teacher", "student backbone"])
def test_a_model_that_reads_padding_is_refused(family, role, tmp_path):
    folder = save_family(family, tmp_path)
    with pytest.raises(InputError, match=rf"{role} .*: expected a model that ignores the padding.* \(type {family}\)"):
        load_model(folder, role=role, device="cpu")


def test_a_model_with_chunks_of_attention_reads_padding(tmp_path):
    tokenizer = BertTokenizer.from_pretrained(save_tiny_teacher(tmp_path / "tokenizer"))
    config = ReformerConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        attn_layers=["local"] * 2,
        num_attention_heads=2,
        attention_head_size=8,
        feed_forward_size=32,
        axial_pos_shape=[8, 8],
        axial_pos_embds_dim=[8, 8],
        max_position_embeddings=64,
        local_attn_chunk_length=8,
        is_decoder=False,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
    )
    for part in (ReformerModel(config), tokenizer):
        part.save_pretrained(tmp_path / "reformer")
    with pytest.raises(InputError, match=r"expected a model that ignores the padding.* \(type reformer\)"):
        load_model(tmp_path / "reformer", role="teacher", device="cpu")


def test_a_module_that_reads_padding_is_refused(tmp_path):
    modules = [Transformer(str(save_family("bert", tmp_path))), CNN(WIDTH, 8), Pooling(24, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "cnn"))
    with pytest.raises(InputError, match="expected a model that ignores the padding"):
        load_model(tmp_path / "cnn", role="teacher", device="cpu")


def test_a_module_that_drops_values_in_training_is_loaded(tmp_path):
    modules = [Transformer(str(save_family("bert", tmp_path))), Pooling(WIDTH, "mean"), Dropout(0.5)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "dropout"))
    load_model(tmp_path / "dropout", role="teacher", device="cpu")


@pytest.mark.parametrize("of_pad", [0.0, 1.0])
def test_mobilebert_reads_the_vector_of_its_padding(tmp_path, of_pad):
    tokenizer = BertTokenizer.from_pretrained(save_tiny_teacher(tmp_path / "tokenizer"))
    sizes = {"hidden_size": WIDTH, "embedding_size": 16, "intra_bottleneck_size": 8, "true_hidden_size": 8}
    model = MobileBertModel(
        MobileBertConfig(vocab_size=len(tokenizer), num_attention_heads=2, num_hidden_layers=2, **sizes)
    )
    model.get_input_embeddings().weight.data[tokenizer.pad_token_id] = of_pad
    model.save_pretrained(tmp_path / "mobilebert")
    tokenizer.save_pretrained(tmp_path / "mobilebert")
    if not of_pad:
        load_model(tmp_path / "mobilebert", role="teacher", device="cpu")
        return
    with pytest.raises(InputError, match=r"expected a model that ignores the padding.* \(type mobilebert\)"):
        load_model(tmp_path / "mobilebert", role="teacher", device="cpu")


def test_a_model_that_short_texts_change_is_refused(tmp_path):
    folder = save_family("big_bird", tmp_path)
    with pytest.raises(InputError, match=r"found attention_type=block_sparse in config\.json, .*: set attention_type"):
        load_model(folder, role="teacher", device="cpu")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_type": "original_full"}))
    load_model(folder, role="teacher", device="cpu")


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3", "longformer", "deberta-v2", "modernbert", "t5"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_that_ignores_padding_is_loaded(family, precision, tmp_path):
    load_model(save_family(family, tmp_path), precision=precision, device="cpu")


@pytest.mark.parametrize(("precision", "remedy"), [("float32", ""), ("bfloat16", "set teacher.precision=float32, or ")])
def test_the_rounding_of_a_precision_may_be_the_cause(precision, remedy, tmp_path):
    with pytest.raises(InputError, match=rf"would change the vector: {remedy}name another teacher$"):
        load_model(save_family("convbert", tmp_path), role="teacher", precision=precision, device="cpu")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_without_an_attention_mask_is_not_helped_by_float32(precision, tmp_path):
    message = (
        r"\(type fnet\) that does not take an attention mask, and whose vector .* with the padding.*: name another "
        "teacher that takes an attention mask$"
    )
    with pytest.raises(InputError, match=message) as error:
        load_model(save_family("fnet", tmp_path), role="teacher", precision=precision, device="cpu")
    assert "float32" not in str(error.value)
