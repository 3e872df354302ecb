"""The losses of appendix B against NumPy, text by text without padding, from weights and hidden states."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, BertTokenizer

from leaf_st.errors import InputError
from leaf_st.student.build import build_student
from leaf_st.training.loss import TeacherAlignedLoss

TEXTS = ["a small text", "one that is longer than the other one", "x"]
HEADS = 2


@pytest.fixture
def losses(run):
    import losses

    return losses


@pytest.fixture
def pair(tiny_teacher_folder):
    torch.manual_seed(1)
    student = build_student(tiny_teacher_folder, dimension=32, normalized=True, layers=(0, 1, 4), device="cpu")
    with torch.no_grad():  # layers that differ from the teacher's
        for weight in student.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return student, SentenceTransformer(str(tiny_teacher_folder), device="cpu")


def _softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _linear(part, vectors):
    return vectors @ part.weight.detach().double().numpy().T + part.bias.detach().double().numpy()


def _inside(model, text):
    """Return hidden states and a function for the vectors of a head, of one text: no padding."""
    bert = model[0].model
    encoded = model.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        states = bert(**encoded, output_hidden_states=True).hidden_states
    states = [state[0].double().numpy() for state in states]

    def head(name, layer, number):
        part = getattr(bert.encoder.layer[layer - 1].attention.self, name)
        vectors = _linear(part, states[layer - 1])
        width = vectors.shape[1] // HEADS
        return vectors[:, number * width : (number + 1) * width]

    return states, head


def _scores(head, left, right, layer, number):
    ours, theirs = head(left, layer, number), head(right, layer, number)
    return ours @ theirs.T / np.sqrt(ours.shape[1])


def _minilm(student, teacher, _):
    total = 0.0
    for text in TEXTS:
        (_, ours), (_, theirs) = _inside(student, text), _inside(teacher, text)
        of_text = []
        for left, right in (("value", "value"), ("query", "key")):
            for number in range(HEADS):
                q = _softmax(_scores(ours, left, right, 3, number))
                p = _softmax(_scores(theirs, left, right, 6, number))
                of_text.append((p * np.log(p / q)).sum(-1).mean() / HEADS)
        total += sum(of_text)
    return total / len(TEXTS)


def _tinybert(student, teacher, w_map):
    total = 0.0
    for text in TEXTS:
        (states, ours), (wanted, theirs) = _inside(student, text), _inside(teacher, text)
        for layer in (1, 2, 3):
            total += np.mean((wanted[2 * layer] - states[layer] @ w_map.T) ** 2) / 6
            for number in range(HEADS):
                p = _scores(theirs, "query", "key", 2 * layer, number)
                q = _scores(ours, "query", "key", layer, number)
                total += np.mean((p - q) ** 2) / (HEADS * 6)
    return total / len(TEXTS)


def _distilbert(student, teacher, w_map):
    total = 0.0
    for text in TEXTS:
        ours, theirs = _inside(student, text)[0][3] @ w_map.T, _inside(teacher, text)[0][6]
        cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(ours, theirs, strict=True)]
        total -= np.mean(cosines)
    return total / len(TEXTS)


@pytest.mark.parametrize(
    ("name", "reference"), [("MiniLM", _minilm), ("TinyBERT", _tinybert), ("DistilBERT", _distilbert)]
)
def test_equals_numpy(losses, pair, name, reference):
    student, teacher = pair
    loss = getattr(losses, name)(student, teacher)
    targets = torch.ones(len(TEXTS), 32)
    student.train()
    combined = loss([student.preprocess(TEXTS)], targets)
    aligned = TeacherAlignedLoss(student)([student.preprocess(TEXTS)], targets)
    w_map = loss.w_map.weight.detach().double().numpy() if hasattr(loss, "w_map") else None
    expected = reference(student, teacher, w_map)
    assert abs(expected) > 0.01
    assert (combined - aligned).item() == pytest.approx(expected, rel=1e-3)
    student.eval()
    assert loss([student.preprocess(TEXTS)], targets).item() == pytest.approx(aligned.item())


@pytest.mark.parametrize("name", ["MiniLM", "TinyBERT", "DistilBERT"])
def test_the_gradient_reaches_the_student_and_never_the_teacher(losses, pair, name):
    student, teacher = pair
    loss = getattr(losses, name)(student, teacher)
    student.train()
    loss([student.preprocess(TEXTS)], torch.ones(len(TEXTS), 32)).backward()
    layer = student[0].model.encoder.layer[2]
    assert layer.attention.self.query.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in teacher.parameters())
    names = [name for name, _ in loss.named_parameters() if not name.startswith("model.")]
    assert names == ([] if name == "MiniLM" else ["w_map.weight"])
    assert not any("w_map" in key for key in student.state_dict())
    if names:
        assert loss.w_map.weight.grad.abs().sum() > 0


@pytest.fixture
def other(tiny_teacher_folder, tmp_path):
    """Make a backbone of other heads, layers or tokens."""

    def make(heads=2, layers=3, tokens=None):
        vocabulary = SentenceTransformer(str(tiny_teacher_folder), device="cpu").tokenizer.get_vocab()
        vocabulary |= {token: len(vocabulary) for token in [tokens] if token}
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=16,
            max_position_embeddings=128,
        )
        BertModel(config).save_pretrained(tmp_path / "backbone")
        BertTokenizer(vocab=vocabulary, do_lower_case=True).save_pretrained(tmp_path / "backbone")
        return tmp_path / "backbone"

    return make


@pytest.mark.parametrize(
    ("difference", "refused", "message"),
    [
        ({"tokens": "##the"}, ["MiniLM", "TinyBERT", "DistilBERT"], "found 142 tokens in the student and 141"),
        ({"heads": 4}, ["MiniLM", "TinyBERT"], "found 4 heads in the student and 2 in the teacher"),
        ({"layers": 4}, ["TinyBERT"], "expected a multiple of 4 layers, found 6"),
    ],
)
def test_models_that_do_not_match_are_refused(losses, other, tiny_teacher_folder, difference, refused, message):
    student = build_student(other(**difference), dimension=32, normalized=True, device="cpu")
    teacher = SentenceTransformer(str(tiny_teacher_folder), device="cpu")
    for name in ("MiniLM", "TinyBERT", "DistilBERT"):
        if name in refused:
            with pytest.raises(InputError, match=message):
                getattr(losses, name)(student, teacher)
        else:
            getattr(losses, name)(student, teacher)


def test_the_refusal_comes_first_and_those_that_match_can_be_trained(
    run, losses, other, tiny_teacher_folder, texts, tmp_path, capsys
):
    output = tmp_path / "run"
    arguments = ("--teacher", tiny_teacher_folder, "--backbone", other(heads=4), "--texts", texts, "--samples", 64)
    with pytest.raises(SystemExit) as stopped:
        run("losses", *arguments, "--output", output, "--data")
    assert stopped.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("losses: MiniLM compares head by head")
    assert "leave MiniLM out with --variants" in error
    assert not output.exists()
    printed = run("losses", *arguments, "--output", output, "--data", "--variants", "LEAF", "DistilBERT")
    assert "| DistilBERT | " in printed


def test_a_teacher_without_layers_is_refused(losses, tiny_student):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    teacher = SentenceTransformer(
        modules=[StaticEmbedding(tiny_student.tokenizer.backend_tokenizer, embedding_dim=32)], device="cpu"
    )
    with pytest.raises(InputError, match="none in the teacher"):
        losses.DistilBERT(tiny_student, teacher)
