"""Runs a command and tells how long it took and how much memory its whole process tree held at once."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_S = 0.1


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Attributes:
        peak_bytes: proportional set size of all its processes, so that pages they share count once.
    """

    seconds: float
    peak_bytes: int
    stdout: str

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, peak {self.peak_bytes / 1e6:,.0f} MB"


def biam_pipe(*arguments: str, sets: Mapping[str, object] | None = None, codes: Sequence[int] = (0,)) -> Measured:
    """Run `biam-pipe` with these arguments and settings; ends the benchmark where it ends with another code."""
    command = [sys.executable, "-m", "cli", *arguments]
    for key, value in (sets or {}).items():
        command += ["--set", f"{key}={value}"]
    return measured(command, codes)


def measured(command: Sequence[str], codes: Sequence[int] = (0,)) -> Measured:
    """Run any command, sampling its memory ten times a second."""
    started = time.perf_counter()
    process = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_bytes(process))
        time.sleep(_SAMPLE_S)
    seconds = time.perf_counter() - started
    if process.returncode not in codes:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Measured(seconds, peak, process.stdout.read())


def tree_bytes(process: psutil.Process) -> int:
    """Proportional set size of a process and all below it."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def cpu() -> str:
    """Name of the processor and how many cores this process sees, for the first line of a benchmark."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{name}, {psutil.cpu_count()} CPUs"
