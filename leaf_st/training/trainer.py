"""sentence-transformers' trainer with the additions of aligned distillation.

Rows come from an `EmbeddingStore` by number. Texts and targets are read from mapped files when a batch is made, so that
memory contains neither all texts nor all targets. Batches contain texts of similar length, the learning rate follows
`CyclicDecay`, and checkpoints contain safetensors and no model card.

Several processes (``torchrun``) train as one process would with their combined batches. An incomplete
last batch of an epoch is left out, because the parts of the processes would differ in size.
"""

from collections.abc import Sequence
from contextlib import nullcontext
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
from sentence_transformers.base.data_collator import BaseDataCollator
from sentence_transformers.base.evaluation import BaseEvaluator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from leaf_st.errors import InputError
from leaf_st.recipe import TrainingSpec
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.checkpoints import MarkComplete, RemoveOld, SaveByTheClock, Stop, stop_on_ctrl_c
from leaf_st.training.cpu import ReusedGradients, attention_kernel
from leaf_st.training.divergence import StopIfDiverged
from leaf_st.training.graphs import GraphedPasses, graphs_apply
from leaf_st.training.loss import TeacherAlignedLoss
from leaf_st.training.sampler import LengthGroupedBatchSampler, Lengths
from leaf_st.training.schedule import schedule
from leaf_st.training.threads import ThreadsByLoad
from leaf_st.training.token_ids import Batches, RowNumbers
from leaf_st.training.token_lengths import lengths_of, tokens_of
from leaf_st.training.tokenization import Tokenization

HELD_OUT_SHARE = 10  # at most one row in ten is held out: most of a small store is needed for training
DOMAIN, GENERAL = "domain", "general"  # names of the validation sets, if there are two
TRAINING = "training"  # name of the training set


class LeafTrainer(SentenceTransformerTrainer):
    """Trains a student on the rows of a store.

    Args:
        student: The student, with or without its closed-form start.
        store: Texts and targets.
        spec: Distance, schedule and held-out rows.
        args: Training arguments, as `training_arguments` returns them.
        general: Texts and targets of the general domain, a second validation set.
        callbacks: Callbacks of the user, called after the trainer's own.
        evaluator: Evaluator of sentence-transformers, called at each validation.

    Raises:
        InputError: If the store is too small to hold out rows, or to fill a batch where batches must be full, or
            several processes have an evaluator.
    """

    def __init__(
        self,
        student: SentenceTransformer,
        store: EmbeddingStore,
        spec: TrainingSpec,
        args: SentenceTransformerTrainingArguments,
        general: EmbeddingStore | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        evaluator: BaseEvaluator | None = None,
    ) -> None:
        if evaluator is not None and args.world_size > 1:
            raise InputError(
                f"evaluator: expected a training in one process, found {args.world_size} processes: evaluate the "
                "trained student"
            )
        self._spec = spec
        self._held_out = held_out_rows(store, spec)
        self._untrained = store.untrained(self._held_out)
        with args.main_process_first(local=False):
            self._lengths, ids = tokens_of(store, student)
            # Lengths of the rows of each validation set, by its name.
            self._validation_lengths: dict[str, Lengths] = {DOMAIN: lengths_of(self._lengths, self._held_out)}
            # The rows of each set and the function that makes batches of them, where batches need no tokenizer.
            self._tokenized = {}
            if ids is not None:
                batches = Batches(store, ids)
                self._tokenized = {TRAINING: (range(len(store)), batches), DOMAIN: (self._held_out, batches)}
            if general is not None:
                self._validation_lengths[GENERAL], ids = tokens_of(general, student)
                if ids is not None:
                    self._tokenized[GENERAL] = (range(len(general)), Batches(general, ids))
        require_full_batch(self.training_rows, args)
        rows = store.to_dataset(with_lengths=False)
        validation: Any = rows.select(self._held_out)
        if general is not None:
            validation = {DOMAIN: validation, GENERAL: general.to_dataset(with_lengths=False)}
        self._stop, self._threads = Stop(), ThreadsByLoad()
        # `RemoveOld` removes checkpoints, not the base class.
        limit, args.save_total_limit = args.save_total_limit, None
        super().__init__(
            model=student,
            args=args,
            train_dataset=rows,
            eval_dataset=validation,
            loss=TeacherAlignedLoss(student, spec.distance),
            evaluator=evaluator,
            callbacks=[
                StopIfDiverged(),
                MarkComplete(),
                SaveByTheClock(),
                RemoveOld(limit),
                self._stop,
                ReusedGradients(),
                self._threads,
                *callbacks,
            ],
        )
        self._graphed = (
            GraphedPasses(self._graphed_loss, student, args.train_batch_size) if graphs_apply(student, args) else None
        )

    @property
    def untrained_rows(self) -> NDArray[np.int64]:
        """Rows of the store that are not trained on, in ascending order: held-out rows and rows that overlap them."""
        return self._untrained

    @property
    def training_rows(self) -> int:
        """Number of rows of an epoch."""
        return len(self._lengths) - len(self.untrained_rows)

    @property
    def held_out_rows(self) -> int:
        """Number of rows of the validation set."""
        return len(self._held_out)

    def train(self, resume_from_checkpoint: str | bool | None = None, *others: Any, **more: Any) -> TrainOutput:  # noqa: ANN401
        """Train as the base class does; from a checkpoint of the last step, only load the selected checkpoint.

        From such a checkpoint the base class would take one more step, if the last step is not the end of an epoch.

        Raises:
            DivergedError: If a loss is NaN or infinite.
            InputError: If a batch does not fit into the memory of the GPU, or of a machine that trains on its CPU.
            KeyboardInterrupt: On Ctrl-C, after the current batch and a checkpoint. On a second Ctrl-C, or with several
                processes, immediately.
        """
        if isinstance(resume_from_checkpoint, str):
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / "trainer_state.json"))
            if state.global_step >= state.max_steps:
                self.state = state
                # The run folder may have been moved since.
                best = state.best_model_checkpoint if self.args.load_best_model_at_end else None
                self._load_from_checkpoint(
                    str(Path(str(self.args.output_dir)) / Path(best).name) if best else resume_from_checkpoint
                )
                return TrainOutput(state.global_step, 0.0, {})
        try:
            with stop_on_ctrl_c(self._stop) if self.args.world_size == 1 else nullcontext():
                return super().train(resume_from_checkpoint, *others, **more)
        except RuntimeError as error:
            is_of_gpu = isinstance(error, torch.OutOfMemoryError)
            if not is_of_gpu and "DefaultCPUAllocator" not in str(error):  # torch has no class for a CPU's memory
                raise
            raise self._too_large_batch("the GPU" if is_of_gpu else "this machine") from error
        finally:
            self._threads.on_train_end()  # transformers does not call it after an exception

    def _too_large_batch(self, place: str) -> InputError:
        """Return the error for a batch that does not fit into the memory of ``place``."""
        if not self.model.training:
            return InputError(
                f"per_device_eval_batch_size: expected batches that fit into the memory of {place}, found one of "
                f"{self.args.per_device_eval_batch_size:,} texts that does not: lower the value"
            )
        return InputError(
            f"per_device_train_batch_size: expected batches that fit into the memory of {place}, found one of "
            f"{self.args.per_device_train_batch_size:,} texts that does not: halve the value and set "
            f"gradient_accumulation_steps={2 * self.args.gradient_accumulation_steps}, for steps with as many texts"
        )

    def compute_loss(self, model: Any, inputs: dict[str, Any], *others: Any, **more: Any) -> Any:  # noqa: ANN401
        """Return the loss of a batch, with the attention kernel that is fastest for the batch."""
        with attention_kernel(inputs, self.args):
            return super().compute_loss(model, inputs, *others, **more)

    def training_step(self, model: Any, inputs: dict[str, Any], *others: Any, **more: Any) -> Any:  # noqa: ANN401
        """Compute the gradients of a batch, on a GPU with a CUDA graph, and return the loss."""
        if self._graphed is not None:
            model.train()
            inputs = self._prepare_inputs(inputs)
            loss = self._graphed(inputs)
            if loss is not None:
                return loss
        return super().training_step(model, inputs, *others, **more)

    def _graphed_loss(self, inputs: dict[str, Any]) -> torch.Tensor:
        with self.compute_loss_context_manager():
            loss: torch.Tensor = self.compute_loss(self.model_wrapped, inputs)
        return loss

    def sample(self, count: int) -> list[int]:
        """Return about ``count`` random rows that are trained on, in ascending order."""
        rows = np.random.default_rng(self.args.seed).integers(len(self._lengths), size=count)
        kept: list[int] = np.setdiff1d(rows, self._untrained).tolist()
        return kept

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's part of the training batches."""
        args = self.args
        batches = self._batches(self._lengths, args.train_batch_size, self.untrained_rows, args.dataloader_drop_last)
        return self._loader(TRAINING, self.train_dataset, batches)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:  # noqa: ANN401
        """Return this process's part of the validation batches.

        Args:
            eval_dataset: Name of a validation set, where there are two.
        """
        name = eval_dataset if isinstance(eval_dataset, str) else DOMAIN
        sets: Any = self.eval_dataset
        dataset = sets[name] if isinstance(sets, dict) else sets
        return self._loader(name, dataset, self._batches(self._validation_lengths[name], self.args.eval_batch_size))

    def _batches(
        self,
        lengths: Lengths,
        batch_size: int,
        leave_out: NDArray[np.int64] | None = None,
        drop_last: bool = False,
    ) -> LengthGroupedBatchSampler:
        processes = self.args.world_size
        return LengthGroupedBatchSampler(
            lengths,
            batch_size * processes,
            self.args.seed,
            drop_last,
            leave_out=leave_out,
            part=(self.args.process_index, processes),
        )

    def _loader(self, name: str, dataset: datasets.Dataset, batches: LengthGroupedBatchSampler) -> DataLoader[Any]:
        rows, collate = self._tokenized.get(name, (None, self.data_collator))
        loader: DataLoader[Any] = DataLoader(
            dataset if rows is None else RowNumbers(rows),  # type: ignore[arg-type]  # stubs ask for torch's class
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            # transformers 5.0 may lack the argument.
            multiprocessing_context=getattr(self.args, "dataloader_multiprocessing_context", None),
        )
        # Accelerator.prepare would divide this process's part again. It also repeats rows to fill the last batch, and
        # does not set the epoch of the sampler when training with several processes resumes within an epoch.
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
        """Return the mean loss over all rows, even if the processes have parts of different sizes."""
        if self.args.world_size == 1:
            return super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        self.model.eval()
        total = torch.zeros(2, device=self.args.device)  # sum of the losses, number of rows
        for inputs in dataloader:
            rows = len(inputs["label"])
            loss, _, _ = self.prediction_step(self.model, inputs, prediction_loss_only=True)
            assert loss is not None  # all rows have targets
            total += torch.stack([loss * rows, torch.full_like(loss, rows)])
        losses, count = self.accelerator.reduce(total).tolist()
        return EvalLoopOutput(np.empty(0), None, {f"{metric_key_prefix}_loss": losses / count}, int(count))

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """Return the recipe's schedule, which replaces the arguments' schedule (paper 2.2)."""
        optimizer = optimizer or self.optimizer
        assert optimizer is not None  # the trainer creates the optimizer before the schedule
        decay = schedule(self._spec, self.args, self.training_rows, num_training_steps)
        self.lr_scheduler = LambdaLR(optimizer, decay)
        return self.lr_scheduler

    def get_data_collator(self, model: Any, *others: Any, **more: Any) -> BaseDataCollator:  # noqa: ANN401
        """Return the base class's collator, which tokenizes without the student's weights."""
        collator: BaseDataCollator = super().get_data_collator(model, *others, **more)
        collator.preprocess_fn = Tokenization(model[0])
        return collator

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no automatic model card: the card would print complete target vectors."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        self.model.save_pretrained(str(output_dir or self.args.output_dir), create_model_card=False)


def held_out_rows(store: EmbeddingStore, spec: TrainingSpec) -> NDArray[np.int64]:
    """Return the validation rows of ``store`` in ascending order: as many as ``spec`` asks for, at most one in ten."""
    return store.held_out(held_out_count(len(store), spec))


def untrained_rows(store: EmbeddingStore, spec: TrainingSpec) -> NDArray[np.int64]:
    """Return the rows of ``store`` that are not trained on: the held-out rows, and the rows that overlap them."""
    return store.untrained(held_out_rows(store, spec))


def held_out_count(rows: int, spec: TrainingSpec) -> int:
    """Return how many of ``rows`` are held out.

    Raises:
        InputError: If there are too few rows to hold out one.
    """
    if rows < HELD_OUT_SHARE:
        raise InputError(
            f"texts: expected at least {HELD_OUT_SHARE} texts, because one in {HELD_OUT_SHARE} is held out for "
            f"validation, found {rows}: add texts"
        )
    return min(spec.held_out_rows, rows // HELD_OUT_SHARE)


def require_full_batch(rows: int, args: TrainingArguments) -> None:
    """Check that there are ``rows`` to train on, and that they fill a batch if batches must be full.

    Raises:
        InputError: If there are too few rows.
    """
    if rows < 1:
        raise InputError(
            "texts: expected texts that differ in more than case, punctuation and spaces, found that all of them are "
            "held out or overlap held-out texts: add texts"
        )
    rows_of_step = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and rows < rows_of_step:
        raise InputError(
            f"expected at least {rows_of_step} texts to train on, for one step of {args.world_size} processes, found "
            f"{rows}: lower per_device_train_batch_size, or embed more texts"
        )
