"""What computes: the cores of this process, and from the name in a setting to a device of torch."""

import os
from typing import TYPE_CHECKING

from schemas.errors import UsageError

if TYPE_CHECKING:
    import torch


def cores() -> int:
    """Cores that this process may use; where the system cannot say, all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_device(name: str, key: str) -> "torch.device":
    """The device of a setting; "auto" is CUDA where there is one, else the CPU.

    Args:
        name: "auto" or a name that torch knows ("cpu", "cuda", "cuda:1").
        key: the setting's key, for the error.

    Raises:
        UsageError: torch does not know the name, or the machine lacks the device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"{key}: torch knows no device {name!r}, expected auto, cpu, cuda or cuda:N. Use: --set {key}=auto"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"{key}: device {name!r} asked for, but torch sees {torch.cuda.device_count()} CUDA devices here. "
            f"Use: --set {key}=auto"
        )
    return device
