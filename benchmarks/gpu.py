"""Whether a GPU gives what a CPU gives, and how fast it is: one command, at most eight minutes, one table.

    python -m benchmarks.gpu                   on a machine with a GPU
    python -m benchmarks.gpu --rehearse        every line of it, small, on a CPU; its figures mean nothing

Weights are random. The table stands below for benchmarks/README.md; where a check fails, the exit code is 1.
"""

import argparse
import datetime
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision

from benchmarks.extract import cpu
from benchmarks.on_gpu.bench import Bench
from benchmarks.on_gpu.checks import CHECKS, CheckError
from benchmarks.on_gpu.measures import MEASURES

_LIMIT_S = 8 * 60
_RESERVE_S = 45  # which the longest line takes


def card(device: str) -> str:
    """What computes, for the head of the table."""
    if device == "cpu":
        return f"rehearsal on {cpu()}"
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, beside {cpu()}"


def lines(bench: Bench, until: float) -> Iterator[tuple[str, str, bool]]:
    """Each line of the table as it is found: what, what was found, and whether it holds."""
    for check in CHECKS:
        if time.monotonic() > until:
            yield check.name, "not tried: no time left", False
            continue
        try:
            yield check.name, check.run(bench), True
        except CheckError as failed:
            yield check.name, f"**fails**: {failed}", False
        except Exception as error:  # noqa: BLE001 - the others are still worth their time
            yield check.name, f"**fails**: {type(error).__name__}: {error}", False
    for measure in MEASURES:
        try:
            yield from ((what, found, True) for what, found in measure(bench, until))
        except Exception as error:  # noqa: BLE001
            yield measure.__name__, f"**fails**: {type(error).__name__}: {error}", False


def main() -> int:
    """Run all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--backbones", nargs="+", help="the first one in checks, too", default=None)
    arguments = parser.parse_args()
    if not arguments.rehearse and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --rehearse tries every line on a CPU")
    usual = ["tiny"] if arguments.rehearse else ["vgg19", "dino_resnet50"]
    precisions = ("fp32", "bf16") if arguments.rehearse else ("fp32", "tf32", "bf16", "fp16")
    began = time.monotonic()
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
    device = "cpu" if arguments.rehearse else "cuda"
    print(f"{card(device)}; {versions}; {datetime.datetime.now(datetime.UTC):%Y-%m-%d}\n")
    print("| what | found | s |\n|---|---|--:|")
    whole = True
    with tempfile.TemporaryDirectory(prefix="on-gpu-") as name:
        bench = Bench(
            device=device,
            rehearsal=arguments.rehearse,
            folder=Path(name),
            backbones=tuple(arguments.backbones or usual),
            precisions=precisions,
        )
        before = time.monotonic()
        for what, found, holds in lines(bench, began + _LIMIT_S - _RESERVE_S):
            now = time.monotonic()
            print(f"| {what} | {found} | {now - before:.0f} |", flush=True)
            whole &= holds
            before = now
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0 if whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
