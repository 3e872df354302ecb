import multiprocessing
import pickle

import forked
import pytest
import torch
from from_scratch import same_model, train

from leaf_st.student.static import build_static
from leaf_st.training.tokenization import Tokenization

TEXTS = ["a text", "another one, which is longer"]


@pytest.fixture
def forkserver():
    """Let this process start others as on macOS and Windows, where they read what they need from a pickle."""
    assert forked.CONTEXT.get_start_method() == "forkserver"  # imports the libraries once for all processes
    multiprocessing.set_start_method("forkserver", force=True)
    yield
    multiprocessing.set_start_method(None, force=True)


def test_batches_of_other_processes_train_the_same_student(tmp_path, recipe, changed, store, forkserver):
    for workers in (0, 1):
        train(changed(recipe, max_steps=3, dataloader_num_workers=workers), store, tmp_path / str(workers))
    assert same_model(tmp_path / "0", tmp_path / "1")


@pytest.mark.parametrize("static", [False, True])
def test_a_pickle_has_the_tokenizer_but_no_weights(static, tiny_student, tiny_teacher_folder):
    if static:
        tiny_student = build_static(tiny_teacher_folder, dimension=16, normalized=True, device="cpu")
    tokenization = Tokenization(tiny_student[0])
    copied = pickle.loads(pickle.dumps(tokenization))
    assert all(weight.device.type == "meta" for weight in copied.module.parameters())
    expected, found = (made(TEXTS, prompt="find: ") for made in (tokenization, copied))
    assert expected.keys() == found.keys() == tiny_student.preprocess(TEXTS, prompt="find: ").keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items() if isinstance(value, torch.Tensor))
    assert all(weight.device.type == "cpu" for weight in tiny_student.parameters())
