"""Which process makes which shard: one process, the processes of a launcher, or partitions started by hand.

The launchers are `torchrun` and `accelerate launch`.
"""

from collections.abc import Callable
from datetime import timedelta

from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env
from sentence_transformers.util import get_device_name

from leaf_st.errors import InputError

# How long a process waits for the others. One process may embed for hours while the others have finished their shards.
# If a process fails, the launcher ends all of them.
_TIMEOUT = timedelta(days=7)


def join(use_cpu: bool = False) -> PartialState:
    """Join the processes of this launch; a process that no launcher started is the only process.

    Args:
        use_cpu: Use the CPU even if a GPU is available.
    """
    asked = parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=asked or use_cpu or get_device_name() == "cpu", timeout=_TIMEOUT)


def own_shards(processes: PartialState, partition: tuple[int, int] = (0, 1)) -> Callable[[int], bool]:
    """Return a function that tells for the number of a shard whether this process makes the shard.

    Args:
        processes: The processes of this launch, which share the partition.
        partition: (i, n): the launch makes the shards i, i + n, i + 2n, ...

    Raises:
        InputError: If i is not a number from 0 to n - 1.
    """
    index, count = partition
    if not 0 <= index < count:
        raise InputError(
            f"partition {index} of {count}: expected a number from 0 to {max(count - 1, 0)}: name another partition"
        )
    first, every = index + count * processes.process_index, count * processes.num_processes
    return lambda number: number % every == first


def in_any_process(value: bool) -> bool:
    """Return whether ``value`` is true in at least one process of this launch; each process must call this function."""
    return any(gather_object([value]))
