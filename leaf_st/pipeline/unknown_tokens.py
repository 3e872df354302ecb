"""The share of the texts that a student cannot read, because its tokenizer does not know the script or language."""

from collections.abc import Sequence

from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from leaf_st.texts import Text

SAMPLE = 1024  # texts at the beginning, as many as in the first shard
_MOST = 0.05  # with the vocabulary of BERT, 0.002 % of the tokens of English texts are unknown
_UNKNOWN = ("[UNK]", "<unk>")  # of WordPiece; of Unigram and BPE


def unknown_tokens(student: SentenceTransformer, texts: Sequence[Text]) -> str | None:
    """Return a warning if more than 5 % of the tokens of ``texts`` are unknown to ``student``; None otherwise.

    A tokenizer gives the same token to all unknown words, so texts of such words have equal vectors.
    """
    tokenizer = getattr(student.tokenizer, "backend_tokenizer", student.tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        return None
    copied: Tokenizer = Tokenizer.from_str(tokenizer.to_str())  # padding is set in place
    copied.no_padding()
    unknown = {copied.token_to_id(token) for token in _UNKNOWN} - {None}
    encoded = copied.encode_batch([row.text for row in texts], add_special_tokens=False)
    ids = [token for one in encoded for token in one.ids]
    share = sum(token in unknown for token in ids) / max(1, len(ids))
    if share <= _MOST:
        return None
    return (
        f"{share:.0%} of the tokens of the first {len(texts):,} texts are unknown to the student's tokenizer, so the "
        "student cannot tell such words apart: name a teacher and a student.backbone for the language of the texts"
    )
