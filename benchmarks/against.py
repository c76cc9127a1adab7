"""Extraction and a training step of this tree beside those of another commit, in alternating pairs; ratios of rates.

    python -m benchmarks.against 1512a3a
    python -m benchmarks.against HEAD~1 --pairs 3

The other commit is checked out into a scratch folder and run with the same environment. Which of the two goes first
changes from pair to pair, so that a machine that grows slower favours neither. Extraction is `biam-pipe extract` with
VGG-19 and random weights, by the times in its receipts without the first shard; the step is that of `train_step`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measured import cpu
from benchmarks.photographs import photographs

ROOT = Path(__file__).resolve().parents[1]
SHARDS = 3


def called(tree: Path, *arguments: str) -> str:
    """What a module of a tree prints, in the environment that runs this."""
    alone = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}  # the other tree, even where this one is installed
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=tree, env=os.environ | alone)
    return done.stdout


def extraction(tree: Path, photos: Path, shard_images: int) -> float:
    """Images/s of the command."""
    with tempfile.TemporaryDirectory() as work:
        sets = {
            "dataset.folders": photos,
            "dataset.shard_images": shard_images,
            "backbone.weights": "random:0",
            "extract.device": "cpu",
        }
        options = [f"--set={key}={value}" for key, value in sets.items()]
        called(tree, "cli", "extract", "--dataset", "folder", "--work", work, "--json", *options)
        paths = sorted(Path(work).glob("folder/features/*/parquet/shard-*.json"))
        receipts = [json.loads(path.read_text()) for path in paths[1:]]
    assert len(receipts) == SHARDS - 1, f"{len(paths)} shards"
    images = sum(receipt["rows"] for receipt in receipts)
    return images / sum(receipt["rows"] / receipt["facts"]["images_per_s"] for receipt in receipts)


def training_step(tree: Path, steps: int) -> float:
    """Steps/s."""
    told = called(tree, "benchmarks.train_step", "--one", "fp32", "--steps", str(steps))
    return float(1 / json.loads(told)["seconds"])


def compared(name: str, unit: str, rate: Callable[[Path], float], other: Path, pairs: int) -> None:
    """Print our rate by the other's, of each pair and the median."""
    ratios = []
    for number in range(pairs):
        first, second = (other, ROOT) if number % 2 else (ROOT, other)
        rates = {first: rate(first), second: rate(second)}
        ratios.append(rates[ROOT] / rates[other])
        print(f"  {name}: {rates[ROOT]:.3f} beside {rates[other]:.3f} {unit}, {ratios[-1]:.3f}", flush=True)
    print(f"{name}: median {statistics.median(ratios):.3f} of {pairs}, {min(ratios):.3f} to {max(ratios):.3f}")


def main() -> None:
    """Measure both, print each pair and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--shard-images", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    print(cpu(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        other, photos = Path(folder, "other"), Path(folder, "photos")
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", ROOT, other], check=True)
        subprocess.run(["git", "-C", other, "checkout", "--quiet", arguments.commit], check=True)
        photographs(photos, SHARDS * arguments.shard_images)
        step = partial(training_step, steps=arguments.steps)
        compared("training step", "steps/s", step, other, arguments.pairs)
        extract = partial(extraction, photos=photos, shard_images=arguments.shard_images)
        compared("extraction", "images/s", extract, other, arguments.pairs)


if __name__ == "__main__":
    main()
