import pytest

from leaf_st.models.tokens import same_tokenizer, token_counts

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
