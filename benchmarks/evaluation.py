"""From scores to all figures at full size: NUS-WIDE's test set, and that of Open Images, most of it unknown.

    python -m benchmarks.evaluation [--only nuswide|openimages|openimages-biam|dense]

Scores and codes are drawn and handed over in batches of 64 images, as a model would; what that takes is not counted.
ZSL and GZSL sections are computed as `biam-pipe evaluate` does, each with the chance level of 20 draws and 20 permuted
controls. Codes of Open Images: about 13 verified labels an image, two thirds of them present; of `dense`, which runs
only when asked for: every cell is present, absent or unknown with equal chances. Prints times and the peak memory.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measured import measured
from pipeline.metrics.protocols import Baselines, evaluate
from pipeline.metrics.score_table import open_score_table
from schemas.config import EvaluateConfig

_BATCH_IMAGES = 64


@dataclass(frozen=True)
class Case:
    """What is evaluated: columns from `seen` on are the unseen labels."""

    protocol: str
    images: int
    labels: int
    seen: int
    ks: tuple[int, int]
    known: float  # share of verified cells
    present: float  # share of them that is positive


CASES = {
    "nuswide": Case("nuswide", 107_859, 1_006, 925, (3, 5), known=1.0, present=0.01),
    "openimages": Case("openimages", 125_436, 7_586, 7_186, (10, 20), known=13 / 7_586, present=2 / 3),
    "openimages-biam": Case("openimages-biam", 125_436, 7_586, 7_186, (10, 20), known=13 / 7_586, present=2 / 3),
    "dense": Case("openimages", 125_436, 7_586, 7_186, (10, 20), known=2 / 3, present=1 / 2),
}


_USUAL = ("nuswide", "openimages", "openimages-biam")


def batches(case: Case) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores and codes; labels differ in how frequent they are, some by a factor of a hundred."""
    generator = np.random.default_rng(0)
    weight = 1 / np.arange(1, case.labels + 1) ** 0.7
    frequency = generator.permutation(weight / weight.mean()).astype(np.float32)
    known = np.minimum(frequency * case.known, 1.0) if case.known < 0.5 else np.full(case.labels, case.known)
    present = np.minimum(frequency * case.present, 0.5) if case.known == 1.0 else np.full(case.labels, case.present)
    for start in range(0, case.images, _BATCH_IMAGES):
        shape = (min(_BATCH_IMAGES, case.images - start), case.labels)
        chance = generator.random(shape, dtype=np.float32)
        codes = np.where(chance < known * present, 1, np.where(chance < known, -1, 0)).astype(np.int8)
        yield generator.standard_normal(shape, dtype=np.float32) + codes, codes


def run(name: str) -> None:
    """Take in the scores and evaluate both sections, in this process."""
    case, config = CASES[name], EvaluateConfig()
    baselines = Baselines(config.draws, config.seed)
    taken_s = 0.0
    with (
        tempfile.TemporaryDirectory(dir=".") as folder,
        open_score_table(Path(folder), case.images, case.labels, config.scores_in_memory_bytes) as table,
    ):
        for scores, codes in batches(case):
            started = time.perf_counter()
            table.append(scores, codes)
            taken_s += time.perf_counter() - started
        print(f"  scores taken in: {taken_s:.1f} s")
        total_s = taken_s
        for section, first in (("zsl", case.seen), ("gzsl", 0)):
            started = time.perf_counter()
            found = evaluate(case.protocol, section, table.section(first), case.ks, baselines)
            seconds = time.perf_counter() - started
            total_s += seconds
            figures, k = found.as_json(), case.ks[0]
            print(
                f"  {section.upper()}: {seconds:.1f} s; mAP {figures['map']:.4f} "
                f"(chance {figures['chance']['map']:.4f}, permuted {figures['permuted']['map']:.4f}), "
                f"F1@{k} {figures[f'f1@{k}']:.4f} (chance {figures['chance'][f'f1@{k}']:.4f})"
            )
    print(f"  all figures and baselines: {total_s:.1f} s")


def main() -> None:
    """Run each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--here", action="store_true", help="in this process, without the peak memory")
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else _USUAL:
        if arguments.here:
            run(name)
            continue
        case = CASES[name]
        print(f"{name}: {case.images:,} x {case.labels:,}, protocol {case.protocol}", flush=True)
        done = measured([sys.executable, "-m", "benchmarks.evaluation", "--here", "--only", name])
        print(f"{done.stdout}  peak {done.peak_bytes / 1e6:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
