"""What each model costs at the sizes of the papers, and what it comes to on the demo.

    python -m benchmarks.systems [--threads 2] [--steps 5] [MODEL ...]
    python -m benchmarks.systems --demo FOLDER [MODEL ...]

Cost: default presets, batches of 32, float16 maps of VGG-19's sizes drawn at random, each model in a process of its
own. Multiply-adds are those of one image with 0, 81 and 925 labels, what is computed once for all images of a batch
included. A step is forward, loss, backward and optimiser with 925 labels, 5 of them present; scoring an image looks at
1,006. The peak is that of the whole process, Python and torch included, after steps with 7,186 labels, 40 of them
present.

The demo: every model by its name and preset `demo` alone, standard ones with the task set, too, over the same features;
beside each figure what chance and permuted words come to.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measured import biam_pipe, cpu
from benchmarks.train_step import highest_rss_bytes
from pipeline.models import MODELS, contract
from pipeline.models.fitting import Fitting
from pipeline.models.sizes import FeatureSizes
from pipeline.models.targets import Targets
from pipeline.settings.layers import configuration
from schemas.config import Config

SHAPES = {
    "region": (14, 14, 512),
    "global": (4096,),
    "pool3": (28, 28, 256),
    "pool4": (14, 14, 512),
    "pool5": (7, 7, 512),
}
WORD, IMAGES, NUS_WIDE, OPEN_IMAGES = 300, 32, 925, 7186
_WARM_UP = 2


class Costs:
    """A model of NUS-WIDE's default preset, over as many labels as one asks for."""

    def __init__(self, name: str) -> None:
        self.model = MODELS.load(name)
        task = "zero-shot" if contract.reads_words(self.model) else "standard"
        sets = [f"model.name={name}", f"dataset.task={task}"]
        self.config: Config = configuration("nuswide", None, {}, sets, Path("nowhere"))
        self.needs = self.model.needs(self.config.model)

    def network(self, labels: int) -> Any:
        """Fresh, with what is fitted beforehand."""
        torch.manual_seed(0)
        sizes = FeatureSizes({need: SHAPES[need][-1] for need in self.needs}, WORD, labels)
        network = self.model.build(self.config.model, sizes)
        if contract.learns_by_steps(self.model):
            codes = self.codes(labels)
            present, absent = ((codes == code).sum(dim=0) for code in (1, -1))
            batch = (self.maps(IMAGES), codes)
            fitting = Fitting(self.words(labels), present, absent, lambda: [batch], None, seed=0)
            contract.put(network, contract.fit(self.model, self.config.model, fitting).buffers)
        return network

    def maps(self, images: int) -> tuple[Tensor, ...]:
        """Not negative, as ReLU leaves them."""
        return tuple(torch.randn(images, *SHAPES[need]).relu_().half() for need in self.needs)

    def words(self, labels: int) -> Tensor:
        """Of norm 1."""
        return torch.nn.functional.normalize(torch.randn(labels, WORD), dim=1)

    def codes(self, labels: int, positives: int = 5) -> Tensor:
        """So many labels present in each image, all others absent."""
        codes = torch.full((IMAGES, labels), -1, dtype=torch.int8)
        for row in codes:
            row[torch.randperm(labels)[:positives]] = 1
        return codes

    @torch.no_grad()
    def multiply_adds(self, labels: int) -> float:
        """Of one image, in thousands of millions."""
        own = labels if contract.has_label_weights(self.model) and not contract.reads_words(self.model) else NUS_WIDE
        network = self.network(max(own, 10)).eval().requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            network(*self.maps(1), self.words(max(own, 10) if own != NUS_WIDE else labels))
        return counter.get_total_flops() / 2e9

    def step(self, labels: int, positives: int) -> Callable[[], None]:
        """One step of training."""
        network = self.network(labels).train()
        train, codes, words, maps = (
            self.config.train,
            self.codes(labels, positives),
            self.words(labels),
            self.maps(IMAGES),
        )
        optimizer = contract.optimizer(self.model, network, train)
        for group in optimizer.param_groups:
            group["lr"] = 1e-5
        targets = Targets(codes, words, IMAGES, self.config.model, train)
        given = (*maps, words, *([codes] if contract.reads_codes(self.model) else []))

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            contract.loss(self.model, network(*given), targets).backward()
            optimizer.step()

        return step

    @torch.no_grad()
    def scoring_ms(self, steps: int) -> float:
        """Of one image among a batch."""
        labels = NUS_WIDE + 81
        network = self.network(labels).eval()
        maps, words = self.maps(IMAGES), self.words(labels)
        return median_ms(lambda: network(*maps, words), steps) / IMAGES


def median_ms(work: Callable[[], Any], steps: int) -> float:
    """Milliseconds of one call, after some that do not count."""
    taken = []
    for _ in range(_WARM_UP + steps):
        started = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken[_WARM_UP:])


def peak(name: str) -> float:
    """MB of the whole process."""
    step = Costs(name).step(OPEN_IMAGES, positives=40)
    for _ in range(3):
        step()
    return highest_rss_bytes() / 1e6


def cost(name: str, steps: int) -> dict[str, float | None]:
    """All but the peak."""
    costs = Costs(name)
    learns = contract.learns_by_steps(costs.model)
    weights = sum(values.numel() for values in costs.network(NUS_WIDE).parameters()) / 1e6
    return {
        "weights": weights,
        "macs": [costs.multiply_adds(labels) for labels in (0, 81, NUS_WIDE)] if learns else None,
        "step": median_ms(costs.step(NUS_WIDE, positives=5), steps) if learns else None,
        "scoring": costs.scoring_ms(steps) if learns else None,
    }


def in_a_process(arguments: argparse.Namespace, *which: str) -> Any:
    """What a child process prints as JSON."""
    command = [sys.executable, "-m", "benchmarks.systems", "--threads", str(arguments.threads), *which]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def costs(arguments: argparse.Namespace) -> None:
    """The table, a line a model, times beside those of BiAM in the same run."""
    print(f"{cpu()}, {arguments.threads} threads\n")
    print("| model | weights, M | G multiply-adds, 0 / 81 / 925 labels | ms a step | ms an image | peak, MB |")
    print("|---|---|---|---|---|---|")
    first = in_a_process(arguments, "--steps", str(arguments.steps), "--cost", "biam")
    for name in arguments.models:
        if not contract.learns_by_steps(MODELS.load(name)):
            continue
        found = in_a_process(arguments, "--steps", str(arguments.steps), "--cost", name)
        megabytes = in_a_process(arguments, "--peak", name)
        macs = " / ".join(f"{value:.3f}" for value in found["macs"])
        beside = [
            f"{found[key]:.{digits}f} ({found[key] / first[key]:.2f})" for key, digits in (("step", 0), ("scoring", 2))
        ]
        print(
            f"| {name} | {found['weights']:.2f} | {macs} | {beside[0]} | {beside[1]} | {megabytes:,.0f} |", flush=True
        )


def demo(arguments: argparse.Namespace) -> None:
    """The demo with each model, over features that are made once."""
    print(f"{cpu()}\n\n| model | task | seconds | mAP | chance | permuted |\n|---|---|---|---|---|---|")
    for name in arguments.models:
        model = MODELS.load(name)
        if contract.is_in_word_space(model):  # the demo's features are of no tower
            continue
        zero_shot = contract.reads_words(model)
        folder = Path(arguments.demo, "zero-shot" if zero_shot else "standard")
        common = {"dataset.task": "zero-shot" if zero_shot else "standard"}
        biam_pipe("embed", "--dataset", "demo", "--work", str(folder), "--json", sets=common)
        biam_pipe("extract", "--dataset", "demo", "--work", str(folder), "--json", sets=common)
        preset = "demo" if "demo" in contract.presets(model) else model.SETTINGS().preset
        sets = common | {"model.name": name, "model.preset": preset}
        measured = biam_pipe("evaluate", "--dataset", "demo", "--work", str(folder), "--json", sets=sets)
        metrics = json.loads(measured.stdout)["metrics"]
        for section in ("zsl", "gzsl") if zero_shot else ("standard",):
            found = metrics[section]
            figures = [found["map"], found["chance"]["map"], found["permuted"]["map"]]
            print(
                f"| {name} | {section} | {measured.seconds:.0f} | " + " | ".join(f"{one:.3f}" for one in figures) + " |"
            )


def main() -> None:
    """The tables, or one figure for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="all by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--demo", metavar="FOLDER", help="run the demo, in this folder")
    parser.add_argument("--cost", metavar="MODEL", help=argparse.SUPPRESS)
    parser.add_argument("--peak", metavar="MODEL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.models = arguments.models or sorted(MODELS.ours)
    torch.set_num_threads(arguments.threads)
    if arguments.cost:
        print(json.dumps(cost(arguments.cost, arguments.steps)))
    elif arguments.peak:
        print(json.dumps(peak(arguments.peak)))
    elif arguments.demo:
        demo(arguments)
    else:
        costs(arguments)


if __name__ == "__main__":
    main()
