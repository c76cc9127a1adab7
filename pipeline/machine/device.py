"""What computes: the cores of this process, from the name in a setting to a device of torch, and what failed there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schemas.command import Command
from schemas.errors import UsageError

if TYPE_CHECKING:
    import torch

_NO_MEMORY = ("DefaultCPUAllocator", "out of memory")  # what a CPU's failure says; CUDA's has a class of its own


def cores() -> int:
    """Cores that this process may use; where the system cannot say, all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> "Iterator[None]":
    """What this thread has torch compute on a CPU has no helpers: beside other work they would be waited for."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
            f"{key}: torch knows no device {name!r}",
            expected="auto, cpu, cuda or cuda:N",
            hint="Use:",
            run=Command(sets={key: "auto"}),
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"{key}: device {name!r} asked for, but torch sees {torch.cuda.device_count()} CUDA devices here",
            hint="Use:",
            run=Command(sets={key: "auto"}),
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(
            f"{key}: device 'mps' asked for, but torch finds none here",
            hint="Use:",
            run=Command(sets={key: "auto"}),
        )
    return device


def require_device(name: str, key: str, processes: int = 1) -> None:
    """See that the device of a setting is here, for so many processes; needs torch only where that is in question.

    Raises:
        UsageError: it is not.
    """
    if name != "cpu" and (name, processes) != ("auto", 1):
        require_one_each(resolve_device(name, key), processes)


def require_one_each(device: "torch.device", processes: int) -> None:
    """See that each training process gets a device of that type; they share a CPU.

    Raises:
        UsageError: there are fewer.
    """
    import torch

    if processes == 1 or device.type == "cpu":
        return
    found = torch.cuda.device_count() if device.type == "cuda" else 1
    if processes > found:
        raise UsageError(
            f"train.processes is {processes}, but torch sees {found} {device.type} devices;",
            expected="at most as many",
            run=Command("train", sets={"train.processes": found}),
        )


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch failed for want of memory, on a CPU or a GPU."""
    import torch

    told = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return told or any(text in str(error) for text in _NO_MEMORY)


def first_line(error: Exception) -> str:
    """What an exception of torch says, without the lines of advice and C++ frames below."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
