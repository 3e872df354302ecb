"""The lock of a part of a run's store, which the first process of a launch holds for all of its processes."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from accelerate import PartialState

from leaf_st.lock import only_process_of_part
from leaf_st.run_folder import STORE, STORE_LOCK
from leaf_st.teacher.workers import Partition


@contextmanager
def only_launch_of(partition: Partition, folder: Path, processes: PartialState) -> Iterator[None]:
    """Let no other launch embed the same ``partition`` at the same time: the texts would be paid for twice.

    Args:
        partition: The part of the store.
        folder: The run folder.
        processes: The processes of this launch; each of them enters the block.

    Raises:
        InputError: If another launch does.
    """
    part = (folder / STORE, partition.index, partition.count)
    is_first = processes.is_main_process
    with only_process_of_part(folder / STORE_LOCK, *part) if is_first else nullcontext():
        processes.wait_for_everyone()  # the others embed only if the first one holds the lock
        yield
