"""How often the interval of a difference holds the true one, and what replicates take at the size of NUS-WIDE.

    python -m benchmarks.bootstrap [--cases 1000]
    python -m benchmarks.bootstrap --size nuswide

Cases: test sets of 2,000 images and 12 labels, drawn from one population and scored by two scorers of which one is
better. Its true difference is that of 2,000,000 images. Of each case the 95 % interval of the paired difference is
taken, as of two runs; 950 of 1,000 should hold the true difference. Beside it stands how much wider the interval would
be if each scorer had images of its own.

Size: the scores and codes of `benchmarks.evaluation`, from a table in memory; ZSL and GZSL sections, and both again
with scores on one scale. Prints times and the peak memory.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.evaluation import CASES, batches
from benchmarks.measured import cpu, measured
from pipeline.metrics.bootstrap import Resampling
from pipeline.metrics.computing import Computing
from pipeline.metrics.paired import Replicates, difference
from pipeline.metrics.protocols import measure, replicates
from pipeline.metrics.score_table import ScoreTable, open_score_table, score_bytes
from schemas.config import EvaluateConfig

IMAGES, POPULATION, K = 2_000, 2_000_000, 3
PREVALENCE = np.geomspace(0.03, 0.3, 12)
SIGNALS = (1.4, 1.2)  # what a label that is present adds to its score, by scorer
SHARED = 0.7  # deviation of what both scorers take for the label, wrongly
FIGURES = ("map", f"f1@{K}")


def drawn(seed: int, images: int) -> list[ScoreTable]:
    """Images as each scorer sees them; both find the same ones hard."""
    generator = np.random.default_rng(seed)
    shape = (images, len(PREVALENCE))
    codes = np.where(generator.random(shape, np.float32) < PREVALENCE, 1, -1).astype(np.int8)
    shared = SHARED * generator.standard_normal(shape, np.float32)
    frequent = np.log(PREVALENCE / (1 - PREVALENCE)).astype(np.float32) / 2
    return [
        ScoreTable.of(shared + generator.standard_normal(shape, np.float32) + frequent + signal * (codes > 0), codes)
        for signal in map(np.float32, SIGNALS)
    ]


@cache
def resampling() -> Resampling:
    """The replicates of any case: its images have the same ids."""
    return Resampling.of([f"image {number}" for number in range(IMAGES)], EvaluateConfig().replicates)


def case(seed: int) -> list[tuple[float, float, float]]:
    """Low and high end of the interval of each figure's difference, and its width if drawn apart, over its width."""
    found = [
        Replicates("one test set", replicates("nuswide", "gzsl", table, (K,), resampling(), Computing(threads=1)))
        for table in drawn(seed, IMAGES)
    ]
    return list(map(partial(_interval, *found), FIGURES))


def _interval(better: Replicates, worse: Replicates, figure: str) -> tuple[float, float, float]:
    interval = difference([better], [worse], figure)
    assert interval is not None, "both have the same images"
    apart = np.hypot(better.figures[figure].std(), worse.figures[figure].std())
    return interval.low, interval.high, float(apart / (better.figures[figure] - worse.figures[figure]).std())


def coverage(cases: int) -> None:
    """How many intervals hold the true difference."""
    print(cpu())
    better, worse = (measure("nuswide", "gzsl", table, (K,)).figures for table in drawn(0, POPULATION))
    started = time.perf_counter()
    with ProcessPoolExecutor() as processes:
        intervals = np.array(list(processes.map(case, range(1, 1 + cases), chunksize=8)))  # [case, figure, end]
    print(f"{cases} cases of {IMAGES:,} images in {time.perf_counter() - started:.0f} s")
    for figure, (low, high, apart) in zip(FIGURES, intervals.transpose(1, 2, 0), strict=True):
        true = better[figure] - worse[figure]
        holds = np.count_nonzero((low <= true) & (true <= high))
        print(
            f"  {figure}: {better[figure]:.4f} - {worse[figure]:.4f} = {true:.4f} is in {holds} of {cases} intervals "
            f"(above {np.count_nonzero(true < low)}, below {np.count_nonzero(true > high)}), width "
            f"{np.mean(high - low):.4f}, drawn apart {np.mean(apart):.2f} times that"
        )


def sized(name: str) -> None:
    """Replicates of both sections at the size of a data set, in this process."""
    shape, config = CASES[name], EvaluateConfig()
    num_bytes = score_bytes(shape.images, shape.labels)
    with open_score_table(Path(), shape.images, shape.labels, num_bytes) as table:
        for scores, codes in batches(shape):
            table.append(scores, codes)
        started = time.perf_counter()
        scaled = table.standardised(shape.seen)
        draws = Resampling.of([f"image {number}" for number in range(shape.images)], config.replicates)
        print(f"  images drawn, scale of each found: {time.perf_counter() - started:.1f} s", flush=True)
        for view, scores in (("", table), (" on one scale", scaled)):
            for section, first in (("zsl", shape.seen), ("gzsl", 0)):
                begun = time.perf_counter()
                found = replicates(shape.protocol, section, scores.section(first), shape.ks, draws)["map"]
                seconds = time.perf_counter() - begun
                print(
                    f"  {section.upper()}{view}: {seconds:.1f} s; mAP {found.mean():.4f} +- {found.std():.4f}",
                    flush=True,
                )
        positives = table.positives_by_label.sum()
    print(f"  all: {time.perf_counter() - started:.1f} s, for {positives:,} positive cells")


def main() -> None:
    """Count intervals, or measure the replicates of a size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument(
        "--size", choices=[name for name, shape in CASES.items() if shape.protocol != "openimages-biam"]
    )
    parser.add_argument("--here", action="store_true", help="the size in this process, without the peak memory")
    arguments = parser.parse_args()
    if arguments.size is None:
        coverage(arguments.cases)
    elif arguments.here:
        sized(arguments.size)
    else:
        shape = CASES[arguments.size]
        replicated = EvaluateConfig().replicates
        print(f"{arguments.size}: {shape.images:,} x {shape.labels:,}, {replicated:,} replicates; {cpu()}", flush=True)
        done = measured([sys.executable, "-m", "benchmarks.bootstrap", "--here", "--size", arguments.size])
        print(f"{done.stdout}  peak {done.peak_bytes / 1e6:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
