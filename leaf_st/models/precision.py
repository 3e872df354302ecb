"""The dtype of a model's weights, which devices compute in bfloat16, and how much memory they have."""

from pathlib import Path

import torch
from accelerate.utils import get_max_memory

from leaf_st.recipe import Precision

_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


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


def free_memory(device: torch.device) -> int:
    """Return the free memory of ``device`` in bytes."""
    available = get_max_memory()
    return int(available.get((device.index or 0) if device.type == "cuda" else "cpu", max(available.values())))
