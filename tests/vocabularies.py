"""Tokenizers of every kind, trained on documentation, as the classes of transformers that models use them with."""

import builtins
import inspect
import json

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BertTokenizer,
    GemmaTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

_SIZE = 900
_FIRST = {
    "wordpiece": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "byte-level bpe": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    "bpe": ["<unk>", "<s>", "</s>", "<pad>"],
    "gemma": ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"],
    "unigram": ["<s>", "<pad>", "</s>", "<unk>"],
    "t5": ["<pad>", "</s>", "<unk>"],
}
# The family of models that uses each kind.
FAMILY = {
    "wordpiece": "bert",
    "byte-level bpe": "roberta",
    "bpe": "llama",
    "gemma": "gemma3",
    "unigram": "xlm-roberta",
    "t5": "t5",
}
KINDS = tuple(FAMILY)


def documentation() -> list[str]:
    """Return the documentation of Python's built-in functions and types, and sentences in other scripts."""
    found = [inspect.getdoc(value) for value in vars(builtins).values()]
    others = ["größere Füße, süßer Käse", "привет, мир и всем миром", "漢字とかなを書く人"] * 20
    return [text for text in found if text] + others


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of ``kind``, one of `KINDS`."""
    first = _FIRST[kind]
    if kind == "wordpiece":
        normalizer, split = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        model = _trained(models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer, first, split, normalizer)
        return BertTokenizer(vocab=model["vocab"])
    if kind == "byte-level bpe":
        split = pre_tokenizers.ByteLevel(add_prefix_space=False)
        model = _trained(models.BPE(), trainers.BpeTrainer, first, split, alphabet=split.alphabet())
        return RobertaTokenizer(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]])
    if kind in ("bpe", "gemma"):
        split = pre_tokenizers.Metaspace()
        first = [*first, *(f"<0x{byte:02X}>" for byte in range(256))]
        model = _trained(models.BPE(), trainers.BpeTrainer, first, split)
        merges = [tuple(merge) for merge in model["merges"]]
        made = {"bpe": LlamaTokenizer, "gemma": GemmaTokenizer}[kind](vocab=model["vocab"], merges=merges)
        made.pad_token = "<pad>"
        return made
    split = pre_tokenizers.Metaspace()
    model = _trained(models.Unigram(), trainers.UnigramTrainer, first, split, unk_token="<unk>")
    made = {"unigram": XLMRobertaTokenizer, "t5": T5Tokenizer}[kind]
    return made(vocab=[tuple(row) for row in model["vocab"]])


def _trained(model, trainer, first, split, normalizer=None, alphabet=(), **options) -> dict:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = split
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    kind = trainer(
        vocab_size=_SIZE, special_tokens=first, initial_alphabet=list(alphabet), show_progress=False, **options
    )
    tokenizer.train_from_iterator(documentation(), kind)
    return json.loads(tokenizer.to_str())["model"]
