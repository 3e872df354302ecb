"""The dtype of a model's weights, which devices compute in bfloat16, and how much memory they have."""

import torch
from accelerate.utils import get_max_memory

from leaf_st.recipe import Precision


def bfloat16_is_fast(device: torch.device) -> bool:
    """Return whether ``device`` multiplies bfloat16 in hardware; emulation is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype of ``precision`` on ``device``; "auto" is bfloat16 if the hardware multiplies it."""
    if precision == "auto":
        precision = "bfloat16" if bfloat16_is_fast(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def free_memory(device: torch.device) -> int:
    """Return the free memory of ``device`` in bytes."""
    available = get_max_memory()
    return int(available.get((device.index or 0) if device.type == "cuda" else "cpu", max(available.values())))
