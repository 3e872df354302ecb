"""Tiny models of many families, with random weights."""

import json
from pathlib import Path

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import BertTokenizer, ByT5Tokenizer, PreTrainedModel, PreTrainedTokenizerFast

from leaf_st.models.random_weights import save_tiny_teacher

WIDTH = 16
LAYERS = 6
POSITIONS = 64  # usable positions
_WINDOWS = [4, 8, 4, 8, 4, 8]
# How the teachers of a family pool, where not by the mean.
_POOLING = {"qwen3": "lasttoken", "llama": "lasttoken", "mistral": "lasttoken", "bert": "cls", "gte": "cls"}
_OWN_CODE = """
from transformers import BertConfig, BertModel

class NewConfig(BertConfig):
    model_type = "new"

class NewModel(BertModel):
    config_class = NewConfig
"""


def _settings(family: str, tokens: int) -> tuple[str, dict]:
    """Return the name of the class in transformers, without "Model", and the values of its config."""
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
    grouped = shape | {"num_key_value_heads": 1, "head_dim": WIDTH // 2, "max_position_embeddings": POSITIONS}
    offset = shape | {"pad_token_id": 1, "max_position_embeddings": POSITIONS + 2}
    plain = shape | {"max_position_embeddings": POSITIONS}
    t5 = {"vocab_size": tokens, "d_model": WIDTH, "d_kv": WIDTH // 2, "d_ff": 2 * WIDTH, "num_layers": LAYERS}
    t5 |= {"num_heads": 2, "is_encoder_decoder": False, "use_cache": False}
    shared = {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
    dim = {"dim": WIDTH, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 2 * WIDTH, "initializer_range": 0.3}
    neo = {"vocab_size": tokens, "hidden_size": WIDTH, "num_layers": LAYERS, "num_heads": 2, "window_size": 8}
    neo |= {"max_position_embeddings": POSITIONS, "attention_types": [[["global", "local"], LAYERS // 2]]}
    lengths = {"global_attn_every_n_layers": 3, "local_attention": 8, "cls_token_id": 2, "sep_token_id": 3}
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3}
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 2
    return {
        "albert": ("Albert", plain | {"embedding_size": 8, "num_hidden_layers": 2}),  # the export unrolls them
        "bert": ("Bert", plain),
        "big_bird": ("BigBird", plain | {"block_size": 4, "num_random_blocks": 1}),
        "byt5": ("T5Encoder", t5 | {"vocab_size": 384}),
        "canine": ("Canine", plain | {"local_transformer_stride": 8, "downsampling_rate": 2}),
        "convbert": ("ConvBert", plain | {"embedding_size": WIDTH}),
        "deberta-v2": ("DebertaV2", plain | shared | {"share_att_key": True, "norm_rel_ebd": "layer_norm"}),
        "distilbert": ("DistilBert", {"vocab_size": tokens, "max_position_embeddings": POSITIONS} | dim),
        "electra": ("Electra", plain | {"embedding_size": 8}),
        "esm": ("Esm", plain | {"position_embedding_type": "rotary"}),
        "fnet": ("FNet", {key: value for key, value in plain.items() if key != "num_attention_heads"}),
        "gemma3": ("Gemma3Text", grouped | {"sliding_window": 8, "layer_types": kinds}),
        "gpt2": ("GPT2", {"vocab_size": tokens, "n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS}),
        "gpt-neo": ("GPTNeo", neo),
        "gte": ("Gte", plain),
        "ibert": ("IBert", offset),
        "llama": ("Llama", grouped),
        "longformer": ("Longformer", offset | {"attention_window": _WINDOWS}),
        "mistral": ("Mistral", grouped | {"sliding_window": 8}),
        "modernbert": ("ModernBert", plain | lengths),
        "mpnet": ("MPNet", offset),
        "new": ("Bert", plain),
        "nomic-bert": ("NomicBert", plain),
        "qwen3": ("Qwen3", grouped | window),
        "roberta": ("Roberta", offset),
        "t5": ("T5Encoder", t5),
        "xlm-roberta": ("XLMRoberta", offset),
    }[family]


def _model(family: str, tokens: int) -> PreTrainedModel:
    name, values = _settings(family, tokens)
    config = getattr(transformers, f"{name.removesuffix('Encoder')}Config")
    return getattr(transformers, f"{name}Model")(config(**values))


def save_family(family: str, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    """Save a model of ``family`` to ``folder`` and return the folder; the tokenizer names no maximum length."""
    torch.manual_seed(0)
    side = "left" if family == "qwen3" else "right"
    if tokenizer is None:
        tokenizer = BertTokenizer.from_pretrained(save_tiny_teacher(folder / "tokenizer"), padding_side=side)
    if family == "gpt2":  # a tokenizer without a pad token
        backend = tokenizer.backend_tokenizer
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[SEP]")
    if family == "byt5":
        tokenizer = ByT5Tokenizer()
    tokenizer.model_max_length = int(1e30)
    _model(family, len(tokenizer)).save_pretrained(folder / family)
    tokenizer.save_pretrained(folder / family)
    if family == "new":
        _add_own_code(folder / family)
    return folder / family


def _add_own_code(folder: Path) -> None:
    (folder / "modeling.py").write_text(_OWN_CODE, encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "new", "architectures": ["NewModel"]}
    config["auto_map"] = {"AutoConfig": "modeling.NewConfig", "AutoModel": "modeling.NewModel"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def save_teacher(family: str, folder: Path) -> Path:
    """Save a teacher of ``family`` to ``folder`` and return its folder: pooling as usual in the family, and norm 1."""
    backbone = save_family(family, folder)
    if family in ("new", "byt5"):  # without modules: sentence-transformers adds mean pooling
        return backbone
    modules = [Transformer(str(backbone), max_seq_length=POSITIONS), Pooling(WIDTH, _POOLING.get(family, "mean"))]
    if family == "gemma3":  # as EmbeddingGemma
        modules += [Dense(WIDTH, 64, activation_function=None, bias=False), Dense(64, WIDTH, activation_function=None)]
    if modules[0].tokenizer.pad_token is None:
        modules[0].tokenizer.pad_token = modules[0].tokenizer.eos_token
    model = SentenceTransformer(modules=[*modules, Normalize()], device="cpu")
    model.save_pretrained(str(folder / "teacher"), create_model_card=False)
    return folder / "teacher"
