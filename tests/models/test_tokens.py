import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from leaf_st.errors import InputError
from leaf_st.models.tokens import require_room, same_tokenizer, token_counts

TEXTS = ["", "a", "some words", "long " * 100, "漢字 é"]


@pytest.mark.parametrize("longest", [3, 16, 128])
def test_tokens_are_counted_as_the_model_reads_them(tiny_teacher, longest):
    tiny_teacher.max_seq_length = longest
    expected = [int(tiny_teacher.preprocess([text])["attention_mask"].sum()) for text in TEXTS]
    assert token_counts(tiny_teacher, TEXTS).tolist() == expected
    tiny_teacher.preprocess(TEXTS)  # pads and truncates
    assert token_counts(tiny_teacher, TEXTS).tolist() == expected


def test_settings_of_a_call_do_not_make_another_tokenizer(tiny_teacher, tiny_student):
    tiny_student.max_seq_length = 16
    tiny_student.preprocess(TEXTS)
    assert same_tokenizer(tiny_teacher, tiny_student)
    tiny_student.tokenizer.add_tokens(["leaf"])
    assert not same_tokenizer(tiny_teacher, tiny_student)


def test_the_last_space_of_a_prompt_may_belong_to_the_first_token_of_a_text(tiny_teacher_folder):
    pieces = {"<unk>": 0, "▁": -2, "▁que": -1, "ry": -1, ":": -1, "▁a": -1, "a": -3}
    tokenizer = Tokenizer(Unigram([(piece, float(score)) for piece, score in pieces.items()], 0))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 0)])
    model = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    model[0].processor = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    assert len(tokenizer.encode("query: a").ids) == len(tokenizer.encode("query: ").ids) == 6
    require_room(model, 6, {"query": "query: "}, "max_length")
    with pytest.raises(InputError, match=r"^max_length: .* of the prompt 'query: ' for kind query, found 5: raise max"):
        require_room(model, 5, {"query": "query: "}, "max_length")


@pytest.mark.parametrize("tokens", [1, 2])
def test_special_tokens_alone_leave_no_room(tiny_teacher, tokens):
    require_room(tiny_teacher, 3, {"query": ""}, "max_length")
    with pytest.raises(InputError, match=rf"expected more tokens than the 2 special ones .* found {tokens}: "):
        require_room(tiny_teacher, tokens, {"query": ""}, "max_length")
