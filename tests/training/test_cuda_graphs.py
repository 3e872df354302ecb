import weakref

import pytest
import torch

from leaf_st.training.arguments import training_arguments
from leaf_st.training.graphs import GraphedPasses, fill, graphs_apply, padded_length
from leaf_st.training.loss import TeacherAlignedLoss


@pytest.mark.parametrize(
    ("tokens", "longest", "expected"), [(1, 512, 8), (8, 512, 8), (9, 512, 16), (249, 250, 250), (17, None, 24)]
)
def test_lengths_of_graphs(tokens, longest, expected):
    assert padded_length(tokens, longest) == expected


def test_a_batch_is_padded_and_nothing_of_an_earlier_batch_remains():
    static = {"text_input_ids": torch.full((2, 8), 7), "text_attention_mask": torch.ones(2, 8), "label": torch.ones(2)}
    batch = {"text_input_ids": torch.ones(2, 3), "text_attention_mask": torch.ones(2, 3), "label": torch.zeros(2)}
    fill(static, batch, {"text_input_ids": 5, "text_attention_mask": 0})
    assert static["text_input_ids"].tolist() == [[1, 1, 1, 5, 5, 5, 5, 5]] * 2
    assert static["text_attention_mask"].sum(1).tolist() == [3, 3]
    assert static["label"].tolist() == [0, 0]


def test_a_cpu_trains_without_graphs(recipe, tiny_student, tmp_path):
    assert not graphs_apply(tiny_student, training_arguments(recipe, tmp_path, "cpu"))


class _Captured:
    """A captured pass that sets gradients and stays on the CPU."""

    def __init__(self, student):
        self._student = student

    def replay(self, tensors):
        for weight in self._student.parameters():
            weight.grad = torch.ones_like(weight)
        return torch.zeros(())


def test_a_pass_that_does_not_fit_frees_the_memory_of_the_others(tiny_student, monkeypatch, caplog):
    captured, alive_at_release = [], []

    def capture(inputs, tensors, length):
        if length > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        made = _Captured(tiny_student)
        captured.append(weakref.ref(made))
        return made

    def empty_cache():
        alive_at_release.append([made() for made in captured if made() is not None])

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))  # absent without a GPU
    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    graphed = GraphedPasses(lambda _: torch.zeros(()), tiny_student, rows=2)
    monkeypatch.setattr(graphed, "_capture", capture)
    short, long = ({"text_input_ids": torch.ones(2, length, dtype=torch.int64)} for length in (5, 12))
    assert graphed(short) is not None
    assert graphed(long) is None
    assert "cannot be captured: CUDA out of memory" in caplog.text
    assert alive_at_release == [[]]
    assert all(weight.grad is None for weight in tiny_student.parameters())
    assert graphed(short) is None  # an ordinary step


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_graph_has_the_loss_and_gradients_of_an_ordinary_pass(tiny_student):
    student = tiny_student.to("cuda")
    loss = TeacherAlignedLoss(student)

    def compute(inputs):
        features = {name.removeprefix("text_"): value for name, value in inputs.items() if name != "label"}
        return loss([features], inputs["label"])

    graphed = GraphedPasses(compute, student, rows=2)
    for texts in (["a", "a longer text than the other"], ["b c d", "e"], ["a text of " + 9 * "many words "] * 2):
        features = student.preprocess(texts)
        inputs = {f"text_{name}": value for name, value in features.items()}
        inputs = {
            name: value.to("cuda") if isinstance(value, torch.Tensor) else value for name, value in inputs.items()
        }
        inputs["label"] = torch.randn(2, student.get_embedding_dimension(), device="cuda")
        found = graphed(inputs)
        gradients = {
            name: weight.grad.clone() for name, weight in student.named_parameters() if weight.grad is not None
        }
        student.zero_grad()
        expected = compute(inputs)
        expected.backward()
        assert torch.allclose(found, expected, atol=1e-5)
        assert gradients
        for name, weight in student.named_parameters():
            if weight.grad is not None:
                assert torch.allclose(gradients[name], weight.grad, atol=1e-4), name
        student.zero_grad()
    assert graphed({**inputs, "text_input_ids": inputs["text_input_ids"][:1]}) is None
