"""Which number formats pay on this machine: a CPU without instructions for one imitates it, slower than float32."""

import logging
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pipeline.machine.device import one_thread, resolve_device
from schemas.command import Command
from schemas.errors import UsageError

_SECONDS = 0.2  # for each of two formats
_PAYS = 0.9  # of float32's time: less than a tenth is not worth a word
_CPU_FLAGS = Path("/proc/cpuinfo")
_log = logging.getLogger("biam_pipe.machine")


def require_precision(precision: str, device: str, setting: str) -> None:
    """See that the device of the settings has the number format; torch is looked at for tf32 alone.

    Args:
        device: as a setting names it.
        setting: key of the precision.

    Raises:
        UsageError: it has not, or there is no such device.
    """
    if precision != "tf32":
        return
    found = resolve_device(device, f"{setting.partition('.')[0]}.device")
    if found.type != "cuda":
        raise UsageError(
            f"{setting} = tf32: only CUDA GPUs compute in it, and this is for {found.type};",
            expected="fp32, or a CUDA device",
            hint="Use:",
            run=Command(sets={setting: "fp32"}),
        )


@cache
def told_slower(setting: str, precision: str, device: str) -> str | None:
    """What the user should know of the pace of a number format, logged once in a process; None where there is nothing.

    What is given is kept with what was made, so that it holds no number that was timed. On a CPU formats are timed, in
    half a second: bf16 and fp16, and fp32 where bf16 has instructions of its own.

    Args:
        setting: key of the precision.
        device: type of it.
    """
    if device != "cpu" or (precision == "fp32" and not _has_amx()):
        return None
    other = "bf16" if precision == "fp32" else precision
    share = _seconds(other) / _seconds("fp32")
    if verdict(setting, precision, share) is None:
        return None
    _log.warning(verdict(setting, precision, share))
    return f"{setting}: {other} is {'slower' if share > 1 else 'faster'} than fp32 on this CPU, and gives other numbers"


def verdict(setting: str, precision: str, share: float) -> str | None:
    """What to say of a precision that is not the faster one, with the share, which differs from time to time.

    Args:
        setting: key of it.
        share: time that the other format, or this one where it is not fp32, takes of fp32's.
    """
    if (share > 1 / _PAYS) if precision != "fp32" else (share < _PAYS):
        named = "bf16" if precision == "fp32" else precision
        return f"{setting}: {named} takes {share:.2g} times as long as fp32 on this CPU, and gives other numbers"
    return None


def _has_amx() -> bool:
    try:
        return "amx_bf16" in _CPU_FLAGS.read_text()
    except OSError:  # no Linux: fp32 stays without a word
        return False


def _seconds(precision: str) -> float:
    """Of a convolution and a product of matrices, of the sizes that networks have; the best of some."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    maps = torch.ones(2, 128, 14, 14, dtype=dtype).to(memory_format=torch.channels_last)
    kernels = torch.ones(128, 128, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    matrix = torch.ones(256, 512, dtype=dtype)  # ones, not random numbers: whoever trains has a seed

    def work() -> None:
        torch.conv2d(maps, kernels, padding=1)
        matrix @ matrix.T

    with one_thread(), torch.inference_mode():
        work()
        return _best(work)


def _best(work: Callable[[], None]) -> float:
    begun, best = time.perf_counter(), float("inf")
    while time.perf_counter() - begun < _SECONDS:
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
