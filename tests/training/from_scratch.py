"""One training as a run starts it: the student is built from the recipe; and what the training gave."""

import json
from functools import partial

from leaf_st.teacher.open import open_teacher
from leaf_st.training.train import initial_student
from leaf_st.training.train import train as train_student


def train(recipe, store, run, **others):
    student = initial_student(recipe, store.fingerprint, others.pop("device", None))
    return train_student(recipe, store, run, student, teacher=partial(open_teacher, recipe.teacher), **others)


def validation_losses(run):
    history = json.loads((run / "results" / "training.json").read_text())
    return [row["eval_loss"] for row in history if "eval_loss" in row]


def same_model(run, other):
    paths = sorted(path.relative_to(run / "model") for path in (run / "model").rglob("*") if path.is_file())
    assert len([path for path in paths if path.suffix == ".safetensors"]) == 2
    return all((run / "model" / path).read_bytes() == (other / "model" / path).read_bytes() for path in paths)
