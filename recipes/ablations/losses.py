"""Other distillation losses added to Eq. 3 (paper appendix B, Figure 10, Table 5): MiniLM, TinyBERT, DistilBERT.

Command:  python recipes/ablations/losses.py [--texts FILE] [--samples N] [--output DIR] [--smoke]
Result:   README.md in this folder.

These losses need the hidden states of the teacher, which a store cannot hold, so the teacher runs in every step. They
compare token by token, so both models need the same tokenizer; MiniLM and TinyBERT compare head by head, so both models
need the same number of heads. Other models are refused. (leaf_st's own loss has neither limit.) Sums over tokens leave
out the padding, and all losses are averaged over the batch. The validation loss of all variants is Eq. 3.
"""

from collections.abc import Iterable
from copy import deepcopy
from functools import partial

import torch
from _outcomes import draw_curves
from _study import Setting, Study, Variant, main
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

from leaf_st.errors import InputError
from leaf_st.teacher.open import open_teacher_model
from leaf_st.training.loss import TeacherAlignedLoss

_READ = ("input_ids", "attention_mask", "token_type_ids")
_NEVER = -1e9  # softmax turns this score into 0; with -inf the divergence would be 0 times infinity


class Internals:
    """The outputs of a BERT's layers in the last forward pass, recorded by hooks.

    Args:
        model: The model, checked by `require_match`.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        layers = _layers(model)
        self.layers = len(layers)
        self.heads: int = model[0].model.config.num_attention_heads
        self._outputs: dict[tuple[str, int], Tensor] = {}
        for number, layer in enumerate(layers, start=1):
            attention = layer.attention.self
            parts = {"hidden": layer, "query": attention.query, "key": attention.key, "value": attention.value}
            for name, part in parts.items():
                part.register_forward_hook(partial(self._keep, name, number))

    def _keep(self, name: str, layer: int, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._outputs[name, layer] = output

    def hidden(self, layer: int) -> Tensor:
        """Return h of ``layer``, counted from 1; shape (batch, T, d), float32."""
        return self._outputs["hidden", layer].float()

    def scores(self, left: str, right: str, layer: int) -> Tensor:
        """Return left x right^T / sqrt(C) of ``layer``, before any softmax; shape (batch, A, T, T), float32."""
        heads = (self._outputs[name, layer].float().unflatten(-1, (self.heads, -1)) for name in (left, right))
        rows, columns = (vectors.transpose(1, 2) for vectors in heads)
        return rows @ columns.mT / rows.shape[-1] ** 0.5


class CombinedLoss(TeacherAlignedLoss):
    """Eq. 3 plus, in training, a loss between the hidden states of student and teacher.

    Args:
        model: The student.
        teacher: The teacher.

    Raises:
        InputError: If the loss cannot compare the two models.
    """

    name = ""
    needs_heads = False

    def __init__(self, model: SentenceTransformer, teacher: SentenceTransformer) -> None:
        super().__init__(model)
        self.require_match(model, teacher)
        # Hidden in a tuple: otherwise torch would train the teacher, and the trainer would take it for the student.
        self._teacher = (deepcopy(teacher),)
        self.student, self.teacher = Internals(model), Internals(self._teacher[0])

    @classmethod
    def require_match(cls, model: SentenceTransformer, teacher: SentenceTransformer) -> None:
        """Check that the loss can compare student and teacher."""
        remedy = f"; leave {cls.name} out with --variants, or name a backbone like the teacher"
        student_vocabulary, teacher_vocabulary = (each.tokenizer.get_vocab() for each in (model, teacher))
        if student_vocabulary != teacher_vocabulary:
            common = len(student_vocabulary.items() & teacher_vocabulary.items())
            raise InputError(
                f"{cls.name} compares token by token: expected one vocabulary, found {len(student_vocabulary):,} "
                f"tokens in the student and {len(teacher_vocabulary):,} in the teacher, {common:,} in common" + remedy
            )
        for role, each in (("student", model), ("teacher", teacher)):
            if not _layers(each):
                raise InputError(f"{cls.name} reads the layers of a BERT: found none in the {role}{remedy}")
        heads = [each[0].model.config.num_attention_heads for each in (model, teacher)]
        if cls.needs_heads and heads[0] != heads[1]:
            raise InputError(
                f"{cls.name} compares head by head: found {heads[0]} heads in the student and {heads[1]} in the teacher"
                + remedy
            )

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Return the scalar loss of one batch."""
        features = list(sentence_features)
        aligned = super().forward(features, labels)
        if not self.model.training:
            return aligned
        read = {name: features[0][name] for name in _READ if name in features[0]}
        mask = read["attention_mask"]
        with torch.no_grad():
            self._teacher[0](read)
        with torch.autocast(aligned.device.type, enabled=False):
            return aligned + self.internal(mask.float())

    def internal(self, mask: Tensor) -> Tensor:
        """Return the scalar loss between student and teacher; ``mask``, shape (batch, T), is 0 for padding."""
        raise NotImplementedError


class MiniLM(CombinedLoss):
    """Value relations and attention of the last layers (Eq. 4 to 8)."""

    name, needs_heads = "MiniLM", True

    def internal(self, mask: Tensor) -> Tensor:
        """Return L_VR + L_Att (Eq. 8)."""
        # Eq. 6 prints K Q^T, but the attention matrix has one row for each query: Q K^T.
        return self._divergence("value", "value", mask) + self._divergence("query", "key", mask)

    def _divergence(self, left: str, right: str, mask: Tensor) -> Tensor:
        """Return D_KL(teacher || student), averaged over heads and tokens (Eq. 5 and 7)."""
        ours, theirs = (
            internals.scores(left, right, internals.layers)
            .masked_fill(mask[:, None, None, :] == 0, _NEVER)
            .log_softmax(-1)
            for internals in (self.student, self.teacher)
        )
        divergences = functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1).mean(1)
        return _mean_of_tokens(divergences, mask)


class TinyBERT(CombinedLoss):
    """Hidden states and attention scores of every layer of the student (Eq. 9 to 11)."""

    name, needs_heads = "TinyBERT", True

    def __init__(self, model: SentenceTransformer, teacher: SentenceTransformer) -> None:
        super().__init__(model, teacher)
        self.w_map = _w_map(model, teacher)

    @classmethod
    def require_match(cls, model: SentenceTransformer, teacher: SentenceTransformer) -> None:
        """Check the layers as well: g(L') = L requires that L is a multiple of L'."""
        super().require_match(model, teacher)
        student_layers, teacher_layers = len(_layers(model)), len(_layers(teacher))
        if teacher_layers % student_layers:
            raise InputError(
                f"{cls.name} compares each layer of the student with one of the teacher: expected a "
                f"multiple of {student_layers} layers, found {teacher_layers}: leave {cls.name} out with "
                "--variants, or keep another number of layers"
            )

    def internal(self, mask: Tensor) -> Tensor:
        """Return L_Hidn + L_Att (Eq. 11), each divided by the teacher's L, as the paper prints them."""
        pairs = mask[:, None, :] * mask[:, :, None]
        loss = torch.zeros((), device=mask.device)
        for layer in range(1, self.student.layers + 1):
            teacher_layer = layer * (self.teacher.layers // self.student.layers)  # g(l)
            hidden = (self.teacher.hidden(teacher_layer) - self.w_map(self.student.hidden(layer))) ** 2
            scores = (
                self.teacher.scores("query", "key", teacher_layer) - self.student.scores("query", "key", layer)
            ) ** 2
            loss = loss + _mean_of_tokens(hidden.mean(-1), mask)  # Eq. 9
            loss = loss + ((scores.mean(1) * pairs).sum((1, 2)) / pairs.sum((1, 2))).mean()  # Eq. 10
        return loss / self.teacher.layers


class DistilBERT(CombinedLoss):
    """Cosine of the last hidden states (Eq. 12)."""

    name = "DistilBERT"

    def __init__(self, model: SentenceTransformer, teacher: SentenceTransformer) -> None:
        super().__init__(model, teacher)
        self.w_map = _w_map(model, teacher)

    def internal(self, mask: Tensor) -> Tensor:
        """Return the mean over tokens of -cos_sim (Eq. 12)."""
        ours, theirs = self.w_map(self.student.hidden(self.student.layers)), self.teacher.hidden(self.teacher.layers)
        return -_mean_of_tokens(functional.cosine_similarity(ours, theirs, dim=-1), mask)


def _layers(model: SentenceTransformer) -> list[nn.Module]:
    """Return the layers of a BERT or a similar model; an empty list for other models."""
    encoder = getattr(getattr(model[0], "model", None), "encoder", None)
    layers = list(getattr(encoder, "layer", []))
    return layers if all(hasattr(getattr(layer, "attention", None), "self") for layer in layers) else []


def _w_map(model: SentenceTransformer, teacher: SentenceTransformer) -> nn.Linear:
    """Return W_map, which is trained with the student and is not part of the student (Eq. 9 and 12)."""
    return nn.Linear(model[0].get_embedding_dimension(), teacher[0].get_embedding_dimension(), bias=False)


def _mean_of_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the tokens of each text, then over the texts; ``values`` and ``mask`` are (batch, T)."""
    return ((values * mask).sum(1) / mask.sum(1)).mean()


def variants(setting: Setting) -> list[Variant]:
    student, teacher = setting.student(), open_teacher_model(setting.run.recipe.teacher)
    found = [setting.variant("LEAF")]
    for loss in (MiniLM, TinyBERT, DistilBERT):
        check = partial(loss.require_match, student, teacher)
        made = partial(loss, teacher=teacher)
        found.append(setting.variant(loss.name, change=loss.name, check=check, loss=made))
    return found


if __name__ == "__main__":
    main(Study("losses", variants, draw_curves), __doc__)
