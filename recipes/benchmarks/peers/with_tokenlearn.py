"""model2vec's distill() with the vocabulary of the texts, then the training of tokenlearn, default settings.

The teacher's vectors take the place of the means that `tokenlearn-featurize` computes: the mean token vectors of a
teacher with mean pooling. Both are reduced to 256 dimensions by principal components, the default of the packages.
The packages have no time limit: an alarm ends the training as Ctrl-C does, unless the packages stopped it before.
"""

import json
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from model2vec.distill import distill
from tokenlearn import train as tokenlearn_train
from tokenlearn.utils import create_vocab

DIMENSIONS = 256
given, folder, minutes = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
settings = json.loads((given / "settings.json").read_text(encoding="utf-8"))
texts = [row["text"] for row in map(json.loads, (given / "texts.jsonl").open(encoding="utf-8"))]
order = np.random.default_rng(0).permutation(len(texts))  # the last texts are validated, which must be of all kinds
texts, vectors = [texts[row] for row in order], np.load(given / "vectors.npy")[order]

started = time.perf_counter()
table = distill(settings["teacher"], vocabulary=create_vocab(texts), pca_dims=DIMENSIONS, quantize_to="float32")
embedding_seconds = time.perf_counter() - started

train_supervised = tokenlearn_train.train_supervised
seconds = 0.0


def limited(**keywords: object) -> object:
    """Train for ``minutes``."""
    global seconds
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    started = time.perf_counter()
    trained = train_supervised(**keywords)
    signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.perf_counter() - started
    return trained


tokenlearn_train.train_supervised = limited
student = tokenlearn_train.train_model(table, texts, vectors, pca_dims=DIMENSIONS)
student.save_pretrained(folder)
versions = {name: version(name) for name in ("model2vec", "tokenlearn")}
report = {"steps": None, "seconds": seconds, "embedding_seconds": embedding_seconds}
print(json.dumps({**report, "versions": versions}))
