"""Arithmetic of torch that repeats to the bit, in training and in scoring: seed, threads, deterministic kernels."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def repeatable(seed: int, threads: int | None, device: torch.device) -> Iterator[None]:
    """Inside, the same program with the same seed gives the same bits on the same machine and device.

    On CUDA an operation without a repeatable kernel warns and goes on; on the CPU it is an error.

    Args:
        seed: of torch's random numbers.
        threads: of one operation; torch's own choice where None.
        device: what will compute.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic  # its switch is a property that type checkers do not see
    fill_before, threads_before = deterministic.fill_uninitialized_memory, torch.get_num_threads()
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with a fixed workspace
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    deterministic.fill_uninitialized_memory = False  # up to a fifth of a step; nothing reads what it fills
    torch.set_num_threads(threads or threads_before)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = fill_before
        torch.set_num_threads(threads_before)
