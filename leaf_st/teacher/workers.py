"""Which process makes which shard: one process, the processes of a launcher, or partitions started by hand.

The launchers are `torchrun` and `accelerate launch`. `ray_workers` has the engine of Ray.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env
from sentence_transformers.util import get_device_name

from leaf_st.errors import BudgetError, InputError
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.maker import Maker
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import EmbeddingStore

# How long a process waits for the others. One process may embed for hours while the others have finished their shards.
# If a process fails, the launcher ends all of them.
_TIMEOUT = timedelta(days=7)
_OF_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

MakerOf = Callable[[TeacherSpec, Teacher, Path], Maker]


def join(use_cpu: bool = False) -> PartialState:
    """Join the processes of this launch; a process that no launcher started is the only process.

    Args:
        use_cpu: Use the CPU even if a GPU is available.

    Raises:
        InputError: If the environment contains only some variables of a launcher, or wrong values.
    """
    found = ", ".join(f"{name}={os.environ[name]}" for name in _OF_LAUNCHER if name in os.environ) or "none"
    try:
        asked = parse_flag_from_env("ACCELERATE_USE_CPU")
        return PartialState(cpu=asked or use_cpu or get_device_name() == "cpu", timeout=_TIMEOUT)
    except ValueError as error:
        raise InputError(
            f"the variables of a launcher cannot be used ({error}): expected {', '.join(_OF_LAUNCHER)}, as torchrun "
            f"sets them, found {found}: start the command with torchrun, or unset these variables"
        ) from error


class Make(Protocol):
    """Makes shards of a store; each call reads the texts from the beginning."""

    def __call__(self, own: Callable[[int], bool], maker_of: MakerOf | None = None) -> EmbeddingStore | None:
        """Make the shards for whose number ``own`` returns True.

        Args:
            own: Whether to make the shard of a number.
            maker_of: Returns the maker of the shards for a teacher, as the recipe names it and as this process has
                opened it, and the folder of the store. If None, this process embeds.

        Returns:
            The store, or None if shards of other workers are missing.
        """


def all_shards(number: int) -> bool:
    """Return True: the shard ``number`` is to be made."""
    return True


class Engine(Protocol):
    """Decides who makes which shard of a store."""

    @property
    def is_whole(self) -> bool:
        """Whether this engine makes all shards of the store."""

    def embed(self, processes: PartialState, make: Make) -> bool:
        """Make the shards of this engine; returns whether the store is complete.

        Args:
            processes: The processes of this launch; each of them calls this method.
            make: Makes shards. An engine may call the function several times.
        """


@dataclass(frozen=True)
class Partition:
    """The engine of one launch: partition i of n consists of the shards i, i + n, i + 2n, ...

    The processes of the launch share the partition.

    Attributes:
        index: Number of the partition, i.
        count: Number of partitions, n.

    Raises:
        InputError: If the index is not a number from 0 to n - 1.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Check the index."""
        if not 0 <= self.index < self.count:
            raise InputError(
                f"partition {self.index} of {self.count}: expected a number from 0 to {max(self.count - 1, 0)}: name "
                "another partition"
            )

    @property
    def is_whole(self) -> bool:
        """Whether the partition is the complete store."""
        return self.count == 1

    def owns(self, processes: PartialState, number: int) -> bool:
        """Return whether this process makes the shard ``number``."""
        first: int = self.index + self.count * processes.process_index
        every: int = self.count * processes.num_processes
        return number % every == first

    def embed(self, processes: PartialState, make: Make) -> bool:
        """Make the shards of this process. Only the process that finishes last has seen all shards of the store.

        If the budget of a process is used up, the process waits for the others. A launcher ends all processes as soon
        as one fails, and would end the others in the middle of texts that are paid for.

        Raises:
            BudgetError: If the budget of a process was used up. All processes raise the error.
        """
        is_complete = False
        reached: BudgetError | None = None
        try:
            is_complete = make(partial(self.owns, processes)) is not None
        except BudgetError as error:
            reached = error
        ends: list[tuple[bool, BudgetError | None]] = gather_object([(is_complete, reached)])
        if errors := [error for _, error in ends if error is not None]:
            raise errors[0]
        return any(complete for complete, _ in ends)


WHOLE = Partition()
