"""The processes that `accelerate launch` or `torchrun` started to do one piece of work together."""

from datetime import timedelta

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from sentence_transformers.util import get_device_name

# How long one waits for the others, of which one may embed for hours what the rest had done before. If one fails, the
# launcher ends them all.
_PATIENCE = timedelta(days=7)


def join(use_cpu: bool = False) -> PartialState:
    """Join the processes of this launch; a process that no launcher started is the first of one.

    Args:
        use_cpu: Leave GPUs alone.
    """
    asked = parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=asked or use_cpu or get_device_name() == "cpu", timeout=_PATIENCE)
