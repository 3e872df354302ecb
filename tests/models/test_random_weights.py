import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel

from leaf_st.models.random_weights import save_random_weights
from leaf_st.student.build import build_student
from leaf_st.zoo import ARCHITECTURES, ARCTIC, MINILM_L6_H384, MXBAI, ZOO, Architecture

TINY = Architecture(32, 2, 2, 64, vocab_size=100, max_position_embeddings=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_random_weights(tmp_path_factory.mktemp("unlearned") / "model", TINY)


def test_it_is_a_model_of_that_shape(folder):
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    assert model.encode(["a text", "another"]).shape == (2, 32)
    assert len(model[0].model.encoder.layer) == 2
    assert model.max_seq_length == 40
    assert len(model.tokenizer) == 100
    assert build_student(folder, dimension=48, normalized=True, layers=(1,)).encode("a").shape == (48,)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 2), ("a small text", 5), ("photosynthesis", 4), ("(one, two)", 7), ("deux  à trois\n", 5), ("a " * 99, 40)],
)
def test_it_counts_words_in_pieces_and_signs(folder, text, tokens):
    model = SentenceTransformer(str(folder), device="cpu")
    encoded = model.tokenizer(text, truncation=True, max_length=model.max_seq_length)
    assert len(encoded["input_ids"]) == tokens


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        (ARCTIC.hub_id, ARCTIC.parameters),
        (MXBAI.hub_id, MXBAI.parameters),
        (MINILM_L6_H384, ZOO["leaf-ir"].parameters),
    ],
)
def test_architectures_have_the_size_that_the_zoo_says(name, millions):
    shape = ARCHITECTURES[name]
    with torch.device("meta"):
        model = BertModel(BertConfig(**vars(shape)))
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e6) == millions
