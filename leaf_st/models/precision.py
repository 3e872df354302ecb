"""The dtype of a model's weights, which devices compute in bfloat16, and how much memory they have."""

from contextlib import suppress
from math import inf
from pathlib import Path

import torch
from accelerate.utils import get_max_memory

from leaf_st.recipe import Precision

_BFLOAT16 = {"avx512_bf16", "amx_bf16"}
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# The memory limit of a container, its use and the cached files in this use, in versions 2 and 1 of control groups. The
# kernel frees the cached files when memory is needed.
_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def bfloat16_is_fast(device: torch.device) -> bool:
    """Return whether ``device`` multiplies bfloat16 in hardware; emulation is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(_BFLOAT16 & _capabilities())


def _capabilities() -> set[str]:
    """Return the instructions of the processor, by the names of Linux."""
    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, has in torch.cpu.get_capabilities().items() if has}
    listed = Path("/proc/cpuinfo")  # torch before 2.11
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype of ``precision`` on ``device``; "auto" is bfloat16 if the hardware multiplies it."""
    if precision == "auto":
        precision = "bfloat16" if bfloat16_is_fast(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def free_memory(device: torch.device, control_groups: Path = _CONTROL_GROUPS) -> int:
    """Return the free memory of ``device`` in bytes; a CPU has at most what the memory limit of this container leaves.

    Args:
        device: The device.
        control_groups: Where the control groups are mounted.
    """
    available = get_max_memory()
    free = int(available.get((device.index or 0) if device.type == "cuda" else "cpu", max(available.values())))
    return int(min(free, _free_in_container(control_groups))) if device.type == "cpu" else free


def _free_in_container(control_groups: Path) -> float:
    """Return the bytes that the memory limit of this container leaves; infinite without a limit."""
    for limit, used, statistics, cached in _FILES:
        with suppress(OSError, ValueError):  # no such file, or "max" for no limit
            most, current = (int((control_groups / name).read_text()) for name in (limit, used))
            known = dict(line.split() for line in (control_groups / statistics).read_text().splitlines())
            return max(most - current + int(known.get(cached, 0)), 0)
    return inf
