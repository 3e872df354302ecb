from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from leaf_st.texts.paper.cut import Cutter


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
