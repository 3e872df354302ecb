"""EasySmallEmbeddingModel: distill() of the package on a student with some layers of the teacher, default settings.

distill() embeds each batch with the teacher again. This time is measured, and does not count as training.
"""

import json
import math
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from smallmodel import SmallModel, register_teacher
from smallmodel.distill import distill
from transformers import AutoConfig

BATCH, TRIAL = 32, 10  # texts of a batch, the default of distill(); steps that show the speed
given, folder, minutes = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
settings = json.loads((given / "settings.json").read_text(encoding="utf-8"))
texts = [row["text"] for row in map(json.loads, (given / "texts.jsonl").open(encoding="utf-8"))]
random.Random(0).shuffle(texts)  # the trial and a part of an epoch need texts of all kinds
torch.manual_seed(0)
embedding_seconds = 0.0
encode = SentenceTransformer.encode


def timed(*arguments: object, **keywords: object) -> object:
    """Return what encode() returns, and add its time to ``embedding_seconds``."""
    global embedding_seconds
    started = time.perf_counter()
    vectors = encode(*arguments, **keywords)
    embedding_seconds += time.perf_counter() - started
    return vectors


def train(student: str, texts: list[str], epochs: int) -> tuple[str, float]:
    """Return the folder of the trained student, and the seconds of the training without the teacher's."""
    global embedding_seconds
    embedding_seconds, started = 0.0, time.perf_counter()
    trained = distill(settings["teacher"], student, texts, epochs=epochs, batch_size=BATCH, device="cpu")
    return trained, time.perf_counter() - started - embedding_seconds


config = AutoConfig.from_pretrained(settings["teacher"])
register_teacher(
    "teacher",
    model_id=settings["teacher"],
    hidden_dim=config.hidden_size,
    num_layers=config.num_hidden_layers,
    intermediate_size=config.intermediate_size,
    vocab_size=config.vocab_size,
    tokenizer_type="wordpiece",
)
work = folder.with_suffix(".students")
student = SmallModel.from_teacher("teacher", layer_indices=settings["layers"], output_dir=str(work)).create(
    no_prune=True
)
SentenceTransformer.encode = timed
_, trial = train(student, texts[: TRIAL * BATCH], 1)
steps = max(1, int(60 * minutes * TRIAL / trial))
epochs = math.ceil(steps * BATCH / len(texts))
each = steps // epochs  # steps of an epoch
trained, seconds = train(student, texts[: each * BATCH], epochs)
Path(trained).rename(folder)
report = {"steps": each * epochs, "seconds": seconds, "embedding_seconds": embedding_seconds}
versions = {name: version(name) for name in ("EasySmallEmbeddingModel", "sentence-transformers")}
print(json.dumps({**report, "versions": versions}))
