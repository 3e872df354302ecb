"""One training as a run starts it: the student is built from the recipe."""

from functools import partial

from leaf_st.teacher.open import open_teacher
from leaf_st.training.train import initial_student
from leaf_st.training.train import train as train_student


def train(recipe, store, run, **others):
    student = initial_student(recipe, store.fingerprint, others.pop("device", None))
    return train_student(recipe, store, run, student, teacher=partial(open_teacher, recipe.teacher), **others)
