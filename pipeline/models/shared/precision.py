"""Number formats."""

import torch
from torch import Tensor


def long_type(device: torch.device) -> torch.dtype:
    """float64 where the device has it; MPS has not, and gets float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def long(values: Tensor) -> Tensor:
    """In the `long_type` of their device."""
    return values.to(long_type(values.device))


def wide(values: Tensor) -> Tensor:
    """In float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
