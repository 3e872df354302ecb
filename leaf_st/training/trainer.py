"""sentence-transformers' trainer, with what aligned distillation adds to it.

Rows come from an `EmbeddingStore` by number: texts and targets are read from the memory map when a batch is made,
so that neither is ever held whole. Batches hold texts of similar length, the learning rate follows `CyclicDecay`, and
checkpoints hold safetensors and no model card.

Several processes (`accelerate launch`) train as one would with batches as large as theirs together, but for the last
incomplete batch of an epoch, which is left out: their parts of it would not be equally large.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from numpy.typing import NDArray
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import BatchSampler, DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from leaf_st.errors import InputError
from leaf_st.recipe import TrainingSpec
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.checkpoints import MarkWhole, SaveByTheClock, Stop, asked_to_stop
from leaf_st.training.lengths import token_lengths
from leaf_st.training.loss import TeacherAlignedLoss
from leaf_st.training.sampler import LengthGroupedBatchSampler
from leaf_st.training.schedule import schedule

_HELD_OUT_AT_MOST = 10  # one row in so many: of a small store most is to learn from
_MAPPED_FROM = 1 << 25  # bytes; glibc's malloc maps such a block anew each time
_FUSED_ABOVE = 256  # tokens; the fused kernel's use above it is that it holds no table of tokens by tokens
DOMAIN, GENERAL = "domain", "general"  # what the validation sets are called where there are two


class LeafTrainer(SentenceTransformerTrainer):
    """Trains a student on the rows of a store.

    Args:
        student: The student, its projection fitted or not.
        store: Texts and targets.
        spec: Distance, schedule and held-out rows.
        args: Training arguments; see `leaf_st.training.train.training_arguments`.
        general: Texts and targets of the general domain, a second set for validation.

    Raises:
        InputError: If the store is so small that nothing can be held out, or that no batch is full where it has to be.
    """

    def __init__(
        self,
        student: SentenceTransformer,
        store: EmbeddingStore,
        spec: TrainingSpec,
        args: SentenceTransformerTrainingArguments,
        general: EmbeddingStore | None = None,
    ) -> None:
        self._spec = spec
        self._held_out = held_out_rows(store, spec)
        with args.main_process_first(local=False):
            self._lengths = token_lengths(store, student)
            self._general = None if general is None else (_dataset(general), token_lengths(general, student))
        require_full_batch(self.training_rows, args)
        rows = _dataset(store)
        validation = rows.select(self._held_out)
        self._stop = Stop()
        super().__init__(
            model=student,
            args=args,
            train_dataset=rows,
            eval_dataset={DOMAIN: validation, GENERAL: self._general[0]} if self._general else validation,
            loss=TeacherAlignedLoss(student, spec.distance),
            callbacks=[MarkWhole(), SaveByTheClock(), self._stop, _KeptGradients()],
        )

    @property
    def training_rows(self) -> int:
        """Rows of an epoch."""
        return len(self._lengths) - len(self._held_out)

    @property
    def held_out_rows(self) -> int:
        """Rows of the validation set."""
        return len(self._held_out)

    def train(self, resume_from_checkpoint: str | bool | None = None, *others: Any, **more: Any) -> TrainOutput:  # noqa: ANN401
        """Train as the base class does; from a checkpoint of the last step, only load the best one.

        The base class would take one step more there, if that is in the middle of an epoch.

        Raises:
            KeyboardInterrupt: On Ctrl-C, after the batch in flight and a checkpoint; at once on a second one, or if
                there are several processes.
        """
        if isinstance(resume_from_checkpoint, str):
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / "trainer_state.json"))
            if state.global_step >= state.max_steps:
                self.state = state
                best = state.best_model_checkpoint  # but the run may have been moved
                self._load_from_checkpoint(
                    str(Path(str(self.args.output_dir)) / Path(best).name) if best else resume_from_checkpoint
                )
                return TrainOutput(state.global_step, 0.0, {})
        with asked_to_stop(self._stop) if self.args.world_size == 1 else nullcontext():
            return super().train(resume_from_checkpoint, *others, **more)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *others: Any, **more: Any) -> Any:  # noqa: ANN401
        """Return the loss of a batch, attention computed by the kernel that is fastest for it."""
        with _attention(inputs, self.args):
            return super().compute_loss(model, inputs, *others, **more)

    def sample(self, count: int) -> list[int]:
        """Return about ``count`` random rows of those that are trained on, in rising order."""
        rows = np.random.default_rng(self.args.seed).integers(len(self._lengths), size=count)
        kept: list[int] = np.setdiff1d(rows, self._held_out).tolist()
        return kept

    def get_batch_sampler(
        self,
        dataset: datasets.Dataset,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> BatchSampler:
        """Return this process's part of batches of similar length: of held-out rows, general ones, or all others."""
        rows, part = batch_size * self.args.world_size, (self.args.process_index, self.args.world_size)
        if self._general is not None and dataset is self._general[0]:
            return LengthGroupedBatchSampler(self._general[1], rows, seed, part=part)
        if len(dataset) == len(self._held_out):
            return LengthGroupedBatchSampler(self._lengths[self._held_out], rows, seed, part=part)
        return LengthGroupedBatchSampler(
            self._lengths, rows, seed, leave_out=self._held_out, drop_last=drop_last, part=part
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's part of the training batches."""
        return self._loader(self.train_dataset, self.args.train_batch_size, "train")

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:  # noqa: ANN401
        """Return this process's part of the validation batches, of one set or of the one of that name."""
        sets: Any = self.eval_dataset
        chosen = sets[eval_dataset] if isinstance(eval_dataset, str) else eval_dataset or sets
        return self._loader(chosen, self.args.eval_batch_size, "eval")

    def _loader(self, dataset: datasets.Dataset, batch_size: int, kind: str) -> DataLoader[Any]:
        # Accelerator.prepare would take a part of the part. Its own cutting repeats rows to fill the last batch, and
        # leaves the epoch of the sampler unset where a training by several processes goes on in mid-epoch.
        loader = self._build_dataloader(dataset, batch_size, kind)
        prepared: DataLoader[Any] = prepare_data_loader(
            loader, self.args.device, num_processes=1, process_index=0, put_on_device=True
        )
        return prepared

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Return the mean loss over all rows, also where each process has a part of them, larger or smaller."""
        if self.args.world_size == 1:
            return super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        self.model.eval()
        total = torch.zeros(2, device=self.args.device)  # sum of the losses, rows
        for inputs in dataloader:
            rows = len(inputs["label"])
            loss, _, _ = self.prediction_step(self.model, inputs, prediction_loss_only=True)
            assert loss is not None  # all rows have targets
            total += torch.stack([loss * rows, torch.full_like(loss, rows)])
        losses, count = self.accelerator.reduce(total).tolist()
        return EvalLoopOutput(np.empty(0), None, {f"{metric_key_prefix}_loss": losses / count}, int(count))

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """Return the schedule of the recipe in place of the arguments' (paper 2.2)."""
        optimizer = optimizer or self.optimizer
        assert optimizer is not None  # the trainer makes it before the schedule
        decay = schedule(self._spec, self.args, self.training_rows, num_training_steps)
        self.lr_scheduler = LambdaLR(optimizer, decay)
        return self.lr_scheduler

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave out the automatic card: it prints whole target vectors."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        self.model.save_pretrained(str(output_dir or self.args.output_dir), create_model_card=False)


def held_out_rows(store: EmbeddingStore, spec: TrainingSpec) -> NDArray[np.int64]:
    """Return the validation rows of ``store``, in rising order: as many as ``spec`` asks for, one in ten at most."""
    return store.held_out(held_out_count(len(store), spec))


def held_out_count(rows: int, spec: TrainingSpec) -> int:
    """Return how many of ``rows`` are held out.

    Raises:
        InputError: If there are too few to hold any out.
    """
    if rows < _HELD_OUT_AT_MOST:
        raise InputError(
            f"found {rows} texts, expected at least {_HELD_OUT_AT_MOST}, of which one is held out for validation: "
            "embed more"
        )
    return min(spec.held_out_rows, rows // _HELD_OUT_AT_MOST)


def require_full_batch(rows: int, args: TrainingArguments) -> None:
    """Raise an `InputError` if batches have to be full and the ``rows`` to train on do not fill one."""
    rows_of_step = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and rows < rows_of_step:
        raise InputError(
            f"a step of {args.world_size} processes takes {rows_of_step} texts, found {rows} to train on: lower "
            "per_device_train_batch_size, or embed more"
        )


def _dataset(store: EmbeddingStore) -> datasets.Dataset:
    """Return the rows of ``store``: when n are read, their texts, and their targets of shape (n, d) in float32."""

    def read(batch: dict[str, list[int]]) -> dict[str, Any]:
        rows = batch["row"]
        targets: NDArray[np.float32] = store.embeddings(rows).astype(np.float32, copy=False)
        return {"text": store.prompted(rows), "label": torch.from_numpy(targets)}

    return store.to_dataset().select_columns(["row"]).with_transform(read)


def _attention(inputs: dict[str, Any], args: TrainingArguments) -> AbstractContextManager[None]:
    """Choose plain matrix products for short texts in bfloat16 on a CPU.

    The backward pass of torch's fused kernel is slow there: 32 texts of 20 tokens take 1.4 times as long for a step of
    three layers, 32 texts of 120 tokens 1.7 times.
    """
    # A static student's ids are one row for all texts, and it has no attention: either choice is right.
    tokens = max(value.shape[-1] for name, value in inputs.items() if name.endswith("input_ids"))
    if args.bf16 and args.device.type == "cpu" and tokens <= _FUSED_ABOVE:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


class _KeptGradients(TrainerCallback):
    """Keeps the gradient of a large table of token vectors in one place on a CPU.

    A batch touches few rows of it, but autograd makes the whole anew in each step, and the system clears its pages
    each time: a third of the step of three layers on 32 texts of 20 tokens. A sparse gradient is added to one that is
    there already.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[torch.nn.Embedding | torch.nn.EmbeddingBag, torch.Tensor]] = []

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **more: Any,  # noqa: ANN401
    ) -> None:
        if args.device.type != "cpu" or args.world_size > 1:
            return
        kinds = torch.nn.Embedding | torch.nn.EmbeddingBag
        tables = (part for part in more["model"].modules() if isinstance(part, kinds))
        large = [table for table in tables if table.weight.requires_grad and table.weight.nbytes >= _MAPPED_FROM]
        self._kept = [(table, torch.zeros_like(table.weight)) for table in large]
        for table in large:
            table.sparse = True

    def on_step_begin(self, *_: object, **__: object) -> None:
        for table, gradient in self._kept:
            table.weight.grad = gradient.zero_()

    def on_train_end(self, *_: object, **__: object) -> None:
        for table, _gradient in self._kept:
            table.sparse = False
        self._kept = []
