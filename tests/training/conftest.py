import random
from dataclasses import replace

import pytest
from from_scratch import train
from sentence_transformers import SentenceTransformer

from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TrainingSpec
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.precompute import precompute
from leaf_st.texts import Text


def _texts(count):
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(1, 6))) for _ in range(100)]
    return [
        Text(" ".join(rng.choices(words, k=rng.randint(1, 8))), rng.choice(["query", "document"])) for _ in range(count)
    ]


@pytest.fixture(scope="session")
def texts():
    return list(dict.fromkeys(_texts(220)))


@pytest.fixture(scope="session")
def teacher(tiny_teacher_folder):
    model = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    return LocalTeacher(model, "tiny", "0", {"query": "q: ", "document": ""})


@pytest.fixture(scope="session")
def store(tmp_path_factory, teacher, texts):
    return precompute(texts, teacher, tmp_path_factory.mktemp("run") / "store", rows_per_shard=64)


@pytest.fixture(scope="session")
def recipe(tiny_teacher_folder):
    arguments = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "learning_rate": 3e-3,
        "eval_steps": 5,
        "save_steps": 5,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
    }
    return Recipe(
        name="tiny",
        teacher=TeacherSpec(model=str(tiny_teacher_folder)),
        student=StudentSpec(layers=(0, 2), closed_form_rows=0),
        training=TrainingSpec(held_out_rows=20, end_learning_rate=1e-3, arguments=arguments),
    )


@pytest.fixture(scope="session")
def changed():
    """Return a recipe with other training values; keywords that no field has are training arguments."""

    def change(recipe, **values):
        spec = recipe.training
        own = {key: values.pop(key) for key in list(values) if hasattr(spec, key)}
        return replace(recipe, training=replace(spec, **own, arguments={**spec.arguments, **values}))

    return change


def _finished(tmp_path_factory, recipe, store):
    run = tmp_path_factory.mktemp("finished")
    train(recipe, store, run)
    return run


@pytest.fixture(scope="session")
def by_epoch(recipe, changed):
    return changed(recipe, decay="epoch", cycles=2, num_train_epochs=4, eval_steps=10, save_steps=10)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, recipe, store):
    return _finished(tmp_path_factory, recipe, store)


@pytest.fixture(scope="session")
def finished_by_epoch(tmp_path_factory, by_epoch, store):
    return _finished(tmp_path_factory, by_epoch, store)
