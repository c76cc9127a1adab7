"""A training beside other work: what a step costs where threads spin while they wait, and where they are patient.

    python -m benchmarks.beside [--burners 0 4] [--rounds 5] [--seconds 4]
    python -m benchmarks.beside --real --seconds 20

Other work is processes that count, so many as --burners says. Each round has a training with torch's own default
(`spinning`), one as biam-pipe starts it (`patient`) and one on a single thread, in processes of their own; every other
round takes them in the reverse order. A step has the sizes of `planted.py`, where operations are small and waits are
many; with --real those of `train_step.py`. The last column is the median over rounds of how many times as fast a step
is as a spinning one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.measured import cpu
from benchmarks.planted_features import Planted
from pipeline.machine.waiting import patient
from pipeline.models.biam.network import build
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.shared.ranking import ranking_loss
from pipeline.models.sizes import FeatureSizes

KINDS = ("spinning", "patient", "one thread")
_IMAGES, _WARM_UP = 32, 3


def small_step() -> Callable[[], Tensor]:
    """A step of the model and the batches of `planted.py`."""
    planted = Planted()
    channels, labels = planted.channels, planted.things * planted.qualities - planted.unseen
    sizes = FeatureSizes({"region": channels, "global": channels}, planted.word)
    model = build(BiamConfig(channels=64, joint_size=64, top_k=4), sizes)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    region, whole = torch.randn(_IMAGES, planted.side, planted.side, channels), torch.randn(_IMAGES, channels)
    words = torch.nn.functional.normalize(torch.randn(labels, planted.word))
    codes = torch.full((_IMAGES, labels), -1, dtype=torch.int8)
    codes[:, :4] = 1

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = ranking_loss(model(region, whole, words), codes, "released")
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def real_step() -> Callable[[], Tensor]:
    """The step of `train_step.py`."""
    from benchmarks.train_step import draw, ours

    return ours(draw(925, 5), "cpu", "fp32")


def train(real: bool, one_thread: bool, seconds: float) -> None:
    """What a child does: steps for so long; prints wall and CPU seconds of a step as JSON."""
    if one_thread:
        torch.set_num_threads(1)
    torch.manual_seed(0)
    step = real_step() if real else small_step()
    for _ in range(_WARM_UP):
        step()
    steps, wall_s, cpu_s = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall_s < seconds:
        step()
        steps += 1
    print(json.dumps([(time.perf_counter() - wall_s) / steps, (time.process_time() - cpu_s) / steps]))


def measured(kind: str, real: bool, seconds: float) -> tuple[float, float]:
    """Wall and CPU seconds of a step of one kind."""
    command = [sys.executable, "-m", "benchmarks.beside", "--one", kind, "--seconds", str(seconds)]
    started_as = {**os.environ, **(patient() if kind == "patient" else {})}
    done = subprocess.run(command + ["--real"] * real, check=True, stdout=subprocess.PIPE, text=True, env=started_as)
    wall_s, cpu_s = json.loads(done.stdout)
    return wall_s, cpu_s


@contextmanager
def other_work(burners: int) -> Iterator[None]:
    """So many processes that count, meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(burners)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def compare(burners: int, arguments: argparse.Namespace) -> None:
    """Print what each kind took beside so many burners."""
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with other_work(burners):
        for number in range(arguments.rounds):
            for kind in KINDS if number % 2 else KINDS[::-1]:
                taken[kind].append(measured(kind, arguments.real, arguments.seconds))
    print(f"beside {burners} burning processes, medians of {arguments.rounds}")
    for kind, steps in taken.items():
        wall_s, cpu_s = (statistics.median(column) for column in zip(*steps, strict=True))
        faster = statistics.median(spun[0] / own[0] for spun, own in zip(taken["spinning"], steps, strict=True))
        print(f"  {kind}: {1000 * wall_s:.1f} ms a step, {1000 * cpu_s:.1f} ms of CPU; {faster:.3f}", flush=True)


def main() -> None:
    """Compare beside each number of burners."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--burners", type=int, nargs="+", default=[0, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--one", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        train(arguments.real, arguments.one == "one thread", arguments.seconds)
        return
    print(cpu(), flush=True)
    for burners in arguments.burners:
        compare(burners, arguments)


if __name__ == "__main__":
    main()
