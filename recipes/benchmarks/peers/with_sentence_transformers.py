"""sentence-transformers' own recipe: some layers of the teacher learn the teacher's vectors with EmbedDistillLoss.

The settings are those of the library's two examples of model distillation: cosine distance, batches of 64 random texts,
learning rate 1e-4, warm-up of 10 %, and half precision if the processor has it. Other settings are the defaults.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import datasets
import numpy as np
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch import nn

BATCH, TRIAL = 64, 6  # texts of a batch; steps that show the speed
given, folder, minutes = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
settings = json.loads((given / "settings.json").read_text(encoding="utf-8"))
texts = [row["text"] for row in map(json.loads, (given / "texts.jsonl").open(encoding="utf-8"))]
rows = datasets.Dataset.from_dict({"sentence": texts, "label": np.load(given / "vectors.npy")})
rows = rows.with_format("torch", columns=["label"], output_all_columns=True)


def train(steps: int) -> tuple[SentenceTransformer, float]:
    """Return a student that was trained for ``steps`` steps, and the seconds of the training."""
    student = SentenceTransformer(settings["teacher"], device="cpu")
    encoder = student[0].auto_model
    encoder.encoder.layer = nn.ModuleList([encoder.encoder.layer[place] for place in settings["layers"]])
    encoder.config.num_hidden_layers = len(settings["layers"])
    trainer = SentenceTransformerTrainer(
        model=student,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder.with_suffix(".checkpoints")),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-4,
            warmup_steps=0.1,
            bf16=settings["bfloat16"],
            use_cpu=True,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=rows,
        loss=EmbedDistillLoss(student, distance_metric="cosine"),
    )
    seconds = trainer.train().metrics["train_runtime"]
    return student, seconds


steps = max(1, int(60 * minutes * TRIAL / train(TRIAL)[1]))
student, seconds = train(steps)
student.save_pretrained(str(folder), create_model_card=False)
versions = {name: version(name) for name in ("sentence-transformers",)}
print(json.dumps({"steps": steps, "seconds": seconds, "embedding_seconds": 0.0, "versions": versions}))
