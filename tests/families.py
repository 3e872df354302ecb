"""Tiny models of other families than BERT, with random weights."""

from pathlib import Path

import torch
from transformers import (
    BertTokenizer,
    Gemma3TextConfig,
    Gemma3TextModel,
    GPT2Config,
    GPT2Model,
    LongformerConfig,
    LongformerModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from leaf_st.models.random_weights import save_tiny_teacher

WIDTH = 16
LAYERS = 6
POSITIONS = 64  # usable positions
_WINDOWS = [4, 8, 4, 8, 4, 8]


def _model(family: str, tokens: int) -> PreTrainedModel:
    shape = {
        "vocab_size": tokens,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 2 * WIDTH,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    grouped = {"num_key_value_heads": 1, "head_dim": WIDTH // 2, "max_position_embeddings": POSITIONS}
    offset = {"pad_token_id": 1, "max_position_embeddings": POSITIONS + 2}
    if family == "t5":
        sizes = {"d_model": WIDTH, "d_kv": WIDTH // 2, "d_ff": 2 * WIDTH, "num_layers": LAYERS, "num_heads": 2}
        return T5EncoderModel(T5Config(vocab_size=tokens, is_encoder_decoder=False, use_cache=False, **sizes))
    if family == "gpt2":
        return GPT2Model(GPT2Config(vocab_size=tokens, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=POSITIONS))
    if family == "roberta":
        return RobertaModel(RobertaConfig(**shape | offset))
    if family == "mpnet":
        return MPNetModel(MPNetConfig(**shape | offset))
    if family == "longformer":
        return LongformerModel(LongformerConfig(**shape | offset, attention_window=_WINDOWS))
    if family == "modernbert":
        lengths = {"max_position_embeddings": POSITIONS, "global_attn_every_n_layers": 3, "local_attention": 8}
        return ModernBertModel(ModernBertConfig(**shape, **lengths, cls_token_id=2, sep_token_id=3))
    if family == "qwen3":
        window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3}
        return Qwen3Model(Qwen3Config(**shape, **grouped, **window))
    assert family == "gemma3"
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    return Gemma3TextModel(Gemma3TextConfig(**shape, **grouped, sliding_window=8, layer_types=kinds))


def save_family(family: str, folder: Path) -> Path:
    """Save a model of ``family`` to ``folder`` and return the folder; the tokenizer names no maximum length."""
    torch.manual_seed(0)
    tokenizer = BertTokenizer.from_pretrained(save_tiny_teacher(folder / "bert"))
    if family == "gpt2":  # a tokenizer without a pad token
        backend = tokenizer.backend_tokenizer
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[SEP]")
    tokenizer.model_max_length = int(1e30)
    _model(family, len(tokenizer)).save_pretrained(folder / family)
    tokenizer.save_pretrained(folder / family)
    return folder / family
