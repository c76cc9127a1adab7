"""From the name in a setting to a device of torch."""

import torch

from schemas.errors import UsageError


def resolve_device(name: str, key: str) -> torch.device:
    """The device of a setting; "auto" is CUDA where there is one, else the CPU.

    Args:
        name: "auto" or a name that torch knows ("cpu", "cuda", "cuda:1").
        key: the setting's key, for the error.

    Raises:
        UsageError: torch does not know the name, or the machine lacks the device.
    """
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
