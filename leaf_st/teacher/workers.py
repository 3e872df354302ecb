"""The processes that `torchrun` or `accelerate launch` started for one run."""

from datetime import timedelta

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from sentence_transformers.util import get_device_name

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
