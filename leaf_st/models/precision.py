"""The dtype of a model's weights, which devices compute in bfloat16, and how much memory they have."""

from contextlib import suppress
from math import inf
from pathlib import Path, PurePosixPath

import torch
from accelerate.utils import get_max_memory

from leaf_st.recipe import Precision

_BFLOAT16 = {"avx512_bf16", "amx_bf16"}
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
# The folder of a controller, and in each group the memory limit, the use and the cached files in this use, in versions
# 2 and 1 of control groups. The kernel frees the cached files when memory is needed.
_FILES = (
    ("", "memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file"),
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


def free_memory(device: torch.device, control_groups: Path = _CONTROL_GROUPS, own_groups: Path = _OWN_GROUPS) -> int:
    """Return the free memory of ``device`` in bytes; a CPU has at most what the limits of this process leave.

    Args:
        device: The device.
        control_groups: Where the control groups are mounted.
        own_groups: The file of the system that lists the control groups of this process.
    """
    available = get_max_memory()
    free = int(available.get((device.index or 0) if device.type == "cuda" else "cpu", max(available.values())))
    return int(min(free, _free_in_groups(control_groups, own_groups))) if device.type == "cpu" else free


def _free_in_groups(control_groups: Path, own_groups: Path) -> float:
    """Return the bytes that the memory limits of this process leave; infinite without a limit.

    Each group in which the group of this process is nested, such as that of a container, a job or a user, may have a
    limit.
    """
    free = inf
    for controller, limit, used, statistics, cached in _FILES:
        own = _path_of_group(controller, own_groups)
        for group in (control_groups / controller / path for path in (own, *own.parents)):
            with suppress(OSError, ValueError):  # no such file, or "max" for no limit
                most, current = (int((group / name).read_text()) for name in (limit, used))
                known = dict(line.split() for line in (group / statistics).read_text().splitlines())
                free = min(free, max(most - current + int(known.get(cached, 0)), 0))
    return free


def _path_of_group(controller: str, own_groups: Path) -> PurePosixPath:
    """Return the group of this process in the folder of ``controller``, which is empty for version 2."""
    lines = own_groups.read_text(encoding="utf-8").splitlines() if own_groups.is_file() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controller in controllers.split(","):
            return PurePosixPath(path.lstrip("/"))
    return PurePosixPath()
