import pytest
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from leaf_st.texts import Text
from leaf_st.texts.cut import Cutter


def test_the_vocabulary_of_a_byte_level_tokenizer_is_text():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", *letters, "Ġn", "Ġno", "Ã©"]
    merges = [("Ġ", "n"), ("Ġn", "o"), ("Ã", "©")]
    tokenizer = Tokenizer(BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    tokenizer.decoder = decoders.ByteLevel()
    vocabulary = Cutter(tokenizer, None).vocabulary()
    assert vocabulary[0] == "<s>"
    assert vocabulary[-3:] == [" n", " no", "é"]
    assert not [token for token in vocabulary if "Ġ" in token or "\ufffd" in token]


def _cutter(tokens):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.enable_truncation(tokens)
    return Cutter(tokenizer, tokens)


def test_texts_are_cut_after_the_last_token_that_is_read():
    assert _cutter(8).cut(["12345678", "123456789", ""]) == ["12345678", "12345678", ""]
    assert Cutter(Tokenizer(BPE({"a": 0}, [])), None).cut(["a" * 100]) == ["a" * 100]


def test_a_short_text_of_many_tokens_is_cut():
    assert _cutter(6).cut(["漢字漢字"]) == ["漢字"]  # three bytes, and so three tokens, for each character


def test_the_tokens_of_a_prompt_count():
    rows = [Text("12345678", "query"), Text("12345678", "document"), Text("123 567", "query")]
    expected = [Text("1234", "query"), Text("12345678", "document"), Text("123", "query")]
    assert _cutter(8).cut_rows(rows, {"query": "abc ", "document": ""}) == expected


@pytest.mark.parametrize("special", [[], [("<s>", 0), ("</s>", 1)]])
def test_a_text_without_a_token_is_not_cut_to_nothing(special):
    tokenizer = Tokenizer(BPE({"<s>": 0, "</s>": 1, "a": 2, ":": 3}, []))
    tokenizer.normalizer = normalizers.BertNormalizer()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, special)
    tokenizer.enable_truncation(8)
    cutter = Cutter(tokenizer, 8)
    symbols = "\ue000\ufffd" * 20  # of a symbol font, and of bytes in another encoding
    rows = [Text(symbols, "query"), Text(symbols, "document"), Text("a" * 20, "document")]
    short = "a" * (8 - len(special))
    assert cutter.cut_rows(rows, {"query": "a:", "document": ""}) == [*rows[:2], Text(short, "document")]
    assert cutter.cut([symbols * 20]) == [(symbols * 20)[: 8 * 32]]
