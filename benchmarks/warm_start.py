"""Is a warm start of few epochs as good as a cold one of all, once a data set has grown? Demo, 10 % more pictures.

    python -m benchmarks.warm_start [--images 400] [--seeds 0 1 2] [--options "--config docs/demo-real.toml"]

A cold run of 10 epochs on all pictures; then 10 % more: a cold run of 10 epochs, and one of 2 that starts from the
weights of the first (train.init_from). Both have the same test pictures: their difference has an interval over these.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.metrics.paired import Replicates, difference

FIGURES = ("zsl/map", "gzsl/map")


def run(work: Path, images: int, options: list[str], *sets: str) -> dict[str, Any]:
    """What a run prints as JSON."""
    words = [*options, "--dataset", "demo", "--work", str(work)]
    words += [word for text in (f"dataset.num_images={images}", *sets) for word in ("--set", text)]
    done = subprocess.run([sys.executable, "-m", "cli", "run", "--json", *words], stdout=subprocess.PIPE, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def main() -> None:
    """Run what is asked for and tell it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--options", default="", help="more options of biam-pipe, as in a shell")
    arguments = parser.parse_args()
    options, grown = shlex.split(arguments.options), round(1.1 * arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        work, rows = Path(folder, "work"), {"cold": [], "warm": []}
        for seed in arguments.seeds:
            given = f"train.seed={seed}"
            name = Path(run(work, arguments.images, options, given)["report"]).parent.name
            fewer = ("train.epochs=2", "train.warmup_epochs=0", f"train.init_from={name}")
            rows["cold"].append(run(work, grown, options, given))
            rows["warm"].append(run(work, grown, options, given, *fewer))
        print(f"{arguments.images} pictures, then {grown}; seeds {arguments.seeds}")
        for figure in FIGURES:
            tell(figure, rows)


def tell(figure: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """A line with the means over seeds, their difference, and its interval over test pictures drawn anew."""
    section, key = figure.split("/")
    means = {name: sum(told["metrics"][section][key] for told in row) / len(row) for name, row in rows.items()}
    drawn = {name: [_replicates(told) for told in row] for name, row in rows.items()}
    found = difference(drawn["warm"], drawn["cold"], figure)
    assert found is not None, "both have the same test pictures"
    less = "below by more than its interval" if found.high < 0 else "not below by more than its interval"
    apart = f"{means['warm'] - means['cold']:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    print(f"  {figure}: cold {means['cold']:.3f}, warm {means['warm']:.3f}, difference {apart}, {less}")


def _replicates(told: dict[str, Any]) -> Replicates:
    return Replicates.of(Path(told["report"]).with_name("bootstrap.npz").read_bytes())


if __name__ == "__main__":
    main()
