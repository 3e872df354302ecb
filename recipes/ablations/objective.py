"""Which training comes closest to the teacher: averaged weights, rates, losses, phases and layers at equal samples.

Command:  python recipes/ablations/objective.py --texts FILE --data FOLDER ... [--samples N] [--output DIR] [--smoke]
Result:   README.md has the table of the variants that were trained, with 64,000 samples each. In equal time, only fewer
          documents are clearly better than the baseline, by one point of nDCG@10 in both modes. The mean of the last
          weights lowers the mean L2 by 0.0015, a rate that falls to 0 by 0.0010; other start rates and additional
          losses raise the mean L2. Muon lowers the mean L2 by 0.0112, but a step takes twice as long on a CPU.

Every variant trains on as many samples as the baseline, except with *a third of the documents*, where the variant
without *equal time* takes 1.4 times as long. Muon takes twice as long, and other batches and layers take other times.
All other variants take as long as the baseline.

Half of the queries of each set choose between the variants: queries whose id has an even hash. The other half is left
for a final measurement. Retrieval is exact search, without mteb; agreement@10 is the share of the teacher's ten nearest
documents that the student finds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from _outcomes import MODES, Scores, draw_curves
from _study import Setting, Study, StudyTrainer, Variant, main
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.sampler import SetEpochMixin
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import BatchSampler, DataLoader
from transformers import TrainerCallback

from leaf_st.evaluation.beir import BeirSet, document_text, load_beir
from leaf_st.evaluation.measurements.list_agreement import Search, similarities
from leaf_st.evaluation.ranking import exact_ndcg
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.loss import TeacherAlignedLoss
from leaf_st.training.sampler import LengthGroupedBatchSampler
from leaf_st.training.trainer import TRAINING


class Averaged(TrainerCallback):
    """Replaces the weights at the end of training by their mean over the last part of the steps."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._mean: list[Tensor] = []
        self._count = 0

    def on_step_end(self, args: object, state: Any, control: object, **more: Any) -> None:  # noqa: ANN401
        """Add the weights to the mean, or set the weights to the mean after the last step."""
        if state.global_step <= (1 - self._share) * state.max_steps:
            return
        weights = [weight.data for weight in more["model"].parameters()]
        if not self._mean:
            self._mean = [weight.clone() for weight in weights]
        self._count += 1
        torch._foreach_lerp_(self._mean, weights, 1 / self._count)
        if state.global_step == state.max_steps:
            torch._foreach_copy_(weights, self._mean)


class AveragingTrainer(StudyTrainer):
    """Averages the weights of the last 20 % of the steps."""

    share = 0.2

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments)
        self.add_callback(Averaged(self.share))


class LongAveragingTrainer(AveragingTrainer):
    """Averages the weights of the last half of the steps."""

    share = 0.5


class WarmUpTrainer(StudyTrainer):
    """Raises the learning rate during the first 5 % of the steps."""

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """Return the schedule of the recipe, with a warm-up."""
        decay = super().create_scheduler(num_training_steps, optimizer).lr_lambdas[0]
        warm_up = max(1, num_training_steps // 20)
        self.lr_scheduler = LambdaLR(self.optimizer, lambda step: min(1, (step + 1) / warm_up) * decay(step))
        return self.lr_scheduler


class MuonAndAdamW(Optimizer):
    """One optimizer of groups of weights with optimizers of their own: Muon for matrices, AdamW for other weights."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})
        self._own = []
        for group in self.param_groups:
            options = {name: value for name, value in group.items() if name != "kind"}
            own = group["kind"]([options])
            group.update(own.param_groups[0])
            self._own.append(own)

    @torch.no_grad()
    def step(self, *_: object) -> None:
        """Take one step of each optimizer."""
        for own, group in zip(self._own, self.param_groups, strict=True):
            own.param_groups, own.state = [group], self.state
            own.step()


class MuonTrainer(StudyTrainer):
    """Trains the matrices of the layers with Muon, and tables of token vectors, norms and biases with AdamW."""

    def create_optimizer(self, *_: object) -> Optimizer:
        """Return both optimizers as one, with the learning rate and the weight decay of the arguments."""
        matrices, tables, vectors = [], [], []
        for name, weight in self.model.named_parameters():
            kind = vectors if weight.ndim != 2 else tables if "embeddings" in name else matrices
            kind.append(weight)
        common = {"lr": self.args.learning_rate, "weight_decay": self.args.weight_decay}
        self.optimizer = MuonAndAdamW(
            [
                # With this adjustment, learning rates of AdamW are right for Muon. torch 2.8 has no Muon.
                {"kind": torch.optim.Muon, "params": matrices, **common, "adjust_lr_fn": "match_rms_adamw"},
                {"kind": AdamW, "params": tables, **common, "fused": True},
                {"kind": AdamW, "params": vectors, **common, "weight_decay": 0.0, "fused": True},
            ]
        )
        return self.optimizer


def third_of_documents(store: EmbeddingStore, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of all queries and of every third document."""
    documents = np.array([text.kind == "document" for text in store.texts(rows)])
    return rows[~documents | (np.cumsum(documents) % 3 == 0)]


class Phases(SetEpochMixin, BatchSampler):
    """Batches of one sampler after another, each for its number of steps; a sampler begins again at its end."""

    def __init__(self, phases: Sequence[tuple[LengthGroupedBatchSampler, int]]) -> None:
        self._phases = phases

    def __len__(self) -> int:
        return sum(steps for _, steps in self._phases)

    def __iter__(self) -> Iterator[list[int]]:
        for sampler, steps in self._phases:
            left, epoch = steps, 0
            while left:
                sampler.set_epoch(epoch)
                for batch in sampler:
                    yield batch
                    left -= 1
                    if not left:
                        break
                epoch += 1


class QueriesLastTrainer(StudyTrainer):
    """Trains only on queries in the last 20 % of the steps."""

    share = 0.2

    def __init__(
        self,
        student: SentenceTransformer,
        store: EmbeddingStore,
        *others: Any,  # noqa: ANN401
    ) -> None:
        kinds = np.array([text.kind for text in store.texts(range(len(store)))])
        self._documents = np.flatnonzero(kinds == "document")
        super().__init__(student, store, *others)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of both phases."""
        size, last = self.args.train_batch_size, round(self.share * self.args.max_steps)
        left_out: tuple[NDArray[np.int64], ...] = (
            self.untrained_rows,
            np.union1d(self.untrained_rows, self._documents),
        )
        first, second = (
            LengthGroupedBatchSampler(self._lengths, size, self.args.seed, True, leave_out=rows) for rows in left_out
        )
        return self._loader(TRAINING, self.train_dataset, Phases([(first, self.args.max_steps - last), (second, last)]))


class Mixed(TeacherAlignedLoss):
    """Eq. 3 plus another loss of the same vectors."""

    def __init__(self, model: SentenceTransformer, weight: float) -> None:
        super().__init__(model)
        self._weight = weight

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], teacher_embeddings: list[Tensor]) -> Tensor:
        """Return the sum of both losses."""
        own, targets = embeddings[0].float(), teacher_embeddings[0].float()
        return super().compute_loss_from_embeddings(embeddings, teacher_embeddings) + self._weight * self.other(
            own, targets
        )

    def other(self, own: Tensor, targets: Tensor) -> Tensor:
        """Return the other loss."""
        raise NotImplementedError


class WithScores(Mixed):
    """Adds the distance between the similarities of the texts of a batch."""

    def other(self, own: Tensor, targets: Tensor) -> Tensor:
        """Return the mean length of the difference of a row of similarities."""
        return (own @ own.T - targets @ targets.T).norm(dim=1).mean()


class WithCrossScores(Mixed):
    """Adds the distance between similarities to the teacher's vectors of the batch, as in asymmetric search."""

    def other(self, own: Tensor, targets: Tensor) -> Tensor:
        """Return the mean length of the difference of a row of similarities."""
        return ((own - targets) @ targets.T).norm(dim=1).mean()


class WithPrefixes(Mixed):
    """Adds Eq. 3 of the first half and the first quarter of the coordinates."""

    def other(self, own: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the prefixes."""
        widths = [own.shape[1] // 2, own.shape[1] // 4]
        normal = nn.functional.normalize
        found = [(normal(own[:, :width]) - normal(targets[:, :width])).norm(dim=1).mean() for width in widths]
        return torch.stack(found).mean()


class WithSquares(Mixed):
    """Adds the squared distance, which weighs texts that are far from the teacher more."""

    def other(self, own: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared distance."""
        return (own - targets).square().sum(dim=1).mean()


def variants(setting: Setting) -> list[Variant]:
    """Return the baseline and one variant for each idea."""
    made = setting.variant
    third: dict[str, Any] = {"change": "a third of the documents", "rows": third_of_documents}
    several = [
        made("baseline"),
        made("baseline, seed 43", seed=43),
        made("baseline, seed 44", seed=44),
        made("rate 1e-4 to 1e-5", learning_rate=1e-4, end_learning_rate=1e-5),
        made("rate 2e-4 to 2e-5", learning_rate=2e-4, end_learning_rate=2e-5),
        made("rate 2e-4 to 0", learning_rate=2e-4, end_learning_rate=1e-8),
        made("rate 6e-4 to 6e-5", learning_rate=6e-4, end_learning_rate=6e-5),
        made("rate 1e-3 to 1e-4", learning_rate=1e-3, end_learning_rate=1e-4),
        made("rate 6e-4 to 0", learning_rate=6e-4, end_learning_rate=1e-8),
        made("rate 3e-4 to 0", end_learning_rate=1e-8),
        made(
            "rate 6e-4 to 0, mean of 20 %",
            change="averaged 0.2",
            trainer=AveragingTrainer,
            learning_rate=6e-4,
            end_learning_rate=1e-8,
        ),
        made("mean of the last 20 %", change="averaged 0.2", trainer=AveragingTrainer),
        made("mean of the last 50 %", change="averaged 0.5", trainer=LongAveragingTrainer),
        made("constant 3e-4, mean of 20 %", change="averaged 0.2", trainer=AveragingTrainer, end_learning_rate=3e-4),
        made("warm-up of 5 %", change="warm-up", trainer=WarmUpTrainer),
        made(
            "rate 1e-3 to 0, warm-up",
            change="warm-up",
            trainer=WarmUpTrainer,
            learning_rate=1e-3,
            end_learning_rate=1e-8,
        ),
        made("Muon", change="Muon", trainer=MuonTrainer),
        # With more samples than the baseline, because queries are short.
        made("a third of the documents", **third, samples=setting.samples * 8 // 5),
        made("a third of the documents, equal time", **third, samples=setting.samples * 8 // 7),
        made("a third of the documents, equal time, seed 43", **third, samples=setting.samples * 8 // 7, seed=43),
        made("a third of the documents, equal time, seed 44", **third, samples=setting.samples * 8 // 7, seed=44),
        made("beta2 0.98", adam_beta2=0.98),
        made("beta2 0.95", adam_beta2=0.95),
        made("beta1 0.95", adam_beta1=0.95),
        made("weight decay 0", weight_decay=0.0),
        made("weight decay 0.1", weight_decay=0.1),
        made("tokens at 1e-3", learning_rate_mapping={"word_embeddings": 1e-3}),
        made("tokens at 1e-4", learning_rate_mapping={"word_embeddings": 1e-4}),
        made("batches of 16", per_device_train_batch_size=16),
        made("batches of 64", per_device_train_batch_size=64),
        made("batches of 64, 6e-4 to 0", per_device_train_batch_size=64, learning_rate=6e-4, end_learning_rate=1e-8),
        made("queries last", change="queries last 0.2", trainer=QueriesLastTrainer),
        made("queries last, seed 43", change="queries last 0.2", trainer=QueriesLastTrainer, seed=43),
        made("queries last, seed 44", change="queries last 0.2", trainer=QueriesLastTrainer, seed=44),
        made("squared L2", distance="mse"),
        made("L2 + squares", change="squares 1", loss=partial(WithSquares, weight=1.0)),
        made("L2 + scores", change="scores 0.5", loss=partial(WithScores, weight=0.5)),
        made("L2 + scores to the teacher", change="cross scores 0.5", loss=partial(WithCrossScores, weight=0.5)),
        made("L2 + prefixes", change="prefixes 0.5", loss=partial(WithPrefixes, weight=0.5)),
    ]
    one_layer = {"layers": (5,), "learning_rate": 1e-3, "end_learning_rate": 1e-5}
    several += [
        made("layers 5, rate 1e-3", **one_layer),
        made("layers 5, rate 1e-3, tokens at 5e-3", **one_layer, learning_rate_mapping={"word_embeddings": 5e-3}),
    ]
    two_layers = {"layers": (0, 5), "end_learning_rate": 1e-5}
    several += [
        made("layers 0,5, rate 6e-4", **two_layers, learning_rate=6e-4),
        made("layers 0,5, rate 1e-3", **two_layers, learning_rate=1e-3),
    ]
    for layers in [
        (0, 1, 5),
        (0, 2, 5),
        (0, 3, 5),
        (1, 4, 5),
        (3, 4, 5),
        (0, 5),
        (4, 5),
        (0,),
        (5,),
        (0, 2, 4, 5),
        (0, 1, 2, 3, 4, 5),
    ]:
        several.append(made(f"layers {','.join(map(str, layers))}", layers=layers))
    return several


def measure(student: SentenceTransformer, teacher: Teacher, sets: Sequence[Path]) -> tuple[Scores, Scores]:
    """Return nDCG@10 and agreement@10 by set and mode, on the queries that choose between variants."""
    scores: dict[str, dict[str, float]] = {}
    agreement: dict[str, dict[str, float]] = {}
    for folder in sets:
        beir = chosen_half(load_beir(folder))
        texts = [row["text"] for row in beir.queries], [document_text(row) for row in beir.corpus]
        queries, documents = teacher.encode_query(texts[0]), teacher.encode_document(texts[1])
        own_queries = student.encode_query(texts[0], show_progress_bar=False, batch_size=256)
        own_documents = student.encode_document(texts[1], show_progress_bar=False, batch_size=256)
        search = Search(beir.own_places, len(documents))
        sides = (queries, own_queries), (documents, own_documents)
        search.add(similarities(teacher.similarity, student.similarity, *sides))
        lists = search.nearest()
        agreement[beir.name] = {mode: 100 * float(search.compare(lists, mode).recalls[10].mean()) for mode in MODES}
        scores[beir.name] = {
            "teacher": exact_ndcg(beir, queries, documents, teacher),
            "standard": exact_ndcg(beir, own_queries, own_documents, student),
            "asymmetric": exact_ndcg(beir, own_queries, documents, teacher),
        }
    return scores, agreement


def chosen_half(beir: BeirSet) -> BeirSet:
    """Return the set with the queries that choose between variants."""
    queries = [row for row in beir.queries if crc32(row["id"].encode()) % 2 == 0]
    return replace(beir, queries=queries, qrels={row["id"]: beir.qrels[row["id"]] for row in queries})


if __name__ == "__main__":
    main(Study("objective", variants, draw_curves, measure=measure), __doc__)
