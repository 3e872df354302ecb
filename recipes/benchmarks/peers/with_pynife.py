"""pynife: a static model in the teacher's space, with the vocabulary of the texts, made as the package documents.

The teacher's tokenizer gets the frequent words of the texts, the table starts from the teacher's vectors of all tokens,
and cosine loss with Matryoshka dimensions trains the table, first on documents, then at a lower rate on queries. The
settings are those of the package's scripts. The package names no rate for the queries, so this program uses a tenth of
the rate for documents. The scripts also remove the teacher's rare tokens. Removing 1,000 tokens takes minutes with
skeletoken 0.2.2, and does not change other tokens, so this program keeps the rare tokens.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import datasets
import numpy as np
from pynife.embedding import TrainableStaticEmbedding
from pynife.initialization import initialize_from_model
from pynife.losses import CosineLoss
from pynife.tokenizer.count_vocabulary import count_tokens_in_dataset
from pynife.tokenizer.expand import expand_tokenizer
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.losses import MatryoshkaLoss
from sentence_transformers.models import Normalize, StaticEmbedding
from transformers import AutoTokenizer

BATCH, TRIAL = 128, 20  # texts of a batch; steps that show the speed
VOCABULARY = 100_000  # tokens of the model
RATES = {"document": 1e-2, "query": 1e-3}
given, folder, minutes = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
settings = json.loads((given / "settings.json").read_text(encoding="utf-8"))
texts = [json.loads(line) for line in (given / "texts.jsonl").open(encoding="utf-8")]
vectors = np.load(given / "vectors.npy")


def of_kind(kind: str) -> datasets.Dataset:
    """Return the texts of ``kind`` with the teacher's vectors."""
    rows = [row for row, text in enumerate(texts) if text["kind"] == kind]
    return datasets.Dataset.from_dict({"sentence": [texts[row]["text"] for row in rows], "label": vectors[rows]})


def train(weights: np.ndarray, rows: datasets.Dataset, rate: float, steps: int) -> tuple[np.ndarray, float]:
    """Return the table ``weights`` after ``steps`` steps, and the seconds of the training."""
    table = TrainableStaticEmbedding(tokenizer=tokenizer, embedding_weights=weights.copy())
    model = SentenceTransformer(modules=[table, Normalize()], device="cpu")
    width = weights.shape[1]
    dimensions = [16 * 2**power for power in range(20) if 16 * 2**power < width]
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder.with_suffix(".checkpoints")),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=rate,
            lr_scheduler_type="cosine_warmup_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.1, "num_cycles": 0.5},
            warmup_ratio=0.1,
            weight_decay=0.01,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=rows,
        loss=MatryoshkaLoss(model, CosineLoss(model), matryoshka_dims=[*dimensions, width]),
    )
    seconds = trainer.train().metrics["train_runtime"]
    return table.embedding.weight.data.numpy(), seconds


tokenizer = AutoTokenizer.from_pretrained(settings["teacher"])
counts = count_tokens_in_dataset(tokenizer, (row["text"] for row in texts))
tokenizer = expand_tokenizer(tokenizer, counts, 0, VOCABULARY, filter_numbers=False)
started = time.perf_counter()
teacher = SentenceTransformer(settings["teacher"], device="cpu")
weights = initialize_from_model(teacher, tokenizer).numpy()
embedding_seconds = time.perf_counter() - started
stages = {kind: rows for kind in RATES if len(rows := of_kind(kind))}
steps, seconds = 0, 0.0
for kind, rows in stages.items():
    pace = train(weights, rows, RATES[kind], TRIAL)[1] / TRIAL
    count = max(1, int(60 * minutes / len(stages) / pace))
    weights, spent = train(weights, rows, RATES[kind], count)
    steps, seconds = steps + count, seconds + spent
student = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights), Normalize()])
student.save_pretrained(str(folder), create_model_card=False)
versions = {name: version(name) for name in ("pynife", "sentence-transformers")}
report = {"steps": steps, "seconds": seconds, "embedding_seconds": embedding_seconds}
print(json.dumps({**report, "versions": versions}))
