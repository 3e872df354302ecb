"""How malloc treats the large, short-lived tensors of training and embedding on a CPU."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc
_INT_MAX = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Let this process keep the large blocks that it frees, from now on, where its malloc is glibc's.

    By default a tensor of 32 MiB or more is mapped anew each time, and the kernel clears its pages each time: for the
    gradient of a table of token vectors alone that is a third of the training step of a small student.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _INT_MAX)
