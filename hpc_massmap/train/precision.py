"""bf16 where the hardware has it; emulated it is up to twenty times slower than fp32, which then takes its place."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch

# of x86 and of ARM, in the words of torch.cpu.get_capabilities
OF_CPUS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bf16 by itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # an older PyTorch does not tell
    return any(capabilities.get(name) for name in OF_CPUS)


def precision_on(device: torch.device, asked: str) -> str:
    """What convolutions are computed in: what `train.precision` asks for, or fp32 where there is no bf16."""
    return "bf16" if asked == "bf16" and has_bf16(device) else "fp32"


def autocast(asked: str, device: torch.device) -> Any:
    """A context of bf16 convolutions under fp32 weights; in fp32 it changes nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision_on(device, asked) == "bf16" else nullcontext()
