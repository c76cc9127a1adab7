"""One training step beside the authors' released one, and with as many labels as Open Images has.

    python -m benchmarks.train_step [--threads 2] [--steps 8]      on a CPU
    python -m benchmarks.train_step --device cuda                  on a GPU

Batch 32, preset `released` at 256 channels, float16 maps of VGG-19's sizes drawn at random: 925 labels and 5 positives
an image, then 7,186 and 40. Each line is a process of its own: the median of its steps, and the peak of its memory
above what it held with everything imported and nothing built (on a GPU: what torch allocated). The first line holds the
losses of both from the same weights. `streamed` copies each batch from the host's memory to the device, as a run does;
`resident` has it there. The hours are those of 40 epochs of NUS-WIDE at that pace.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import lightning_fabric  # noqa: F401 - imported here, so that it does not count as memory of a step
import psutil
import torch
import torch._dynamo  # the optimisers import it at their first step
from torch import Tensor

from benchmarks.released_step import ReleasedBiAM, released_loss
from pipeline.machine.memory import compact
from pipeline.machine.waiting import patient
from pipeline.models.biam.network import build
from pipeline.models.biam.released_keys import load_released_state, released_state
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.shared.ranking import ranking_loss
from pipeline.models.sizes import FeatureSizes
from pipeline.training.fabric import start_fabric
from schemas.config import TrainConfig

IMAGES, SIDE, CHANNELS, GLOBAL, WORD, WIDTH = 32, 14, 512, 4096, 300, 256
NUS_WIDE_IMAGES, EPOCHS = 161_789, 40
_WARM_UP = 3


@dataclass(frozen=True)
class Inputs:
    """One batch: maps as the store gives them, and label codes."""

    region: Tensor
    global_feature: Tensor
    vectors: Tensor
    codes: Tensor


def draw(labels: int, positives: int) -> Inputs:
    """A batch of non-negative maps, as ReLU leaves them; all labels that are not present are absent."""
    generator = torch.Generator().manual_seed(0)
    region = torch.randn(IMAGES, SIDE, SIDE, CHANNELS, generator=generator).relu_().half()
    global_feature = torch.randn(IMAGES, GLOBAL, generator=generator).relu_().half()
    vectors = torch.nn.functional.normalize(torch.randn(labels, WORD, generator=generator))
    codes = torch.full((IMAGES, labels), -1, dtype=torch.int8)
    for row in codes:
        row[torch.randperm(labels, generator=generator)[:positives]] = 1
    return Inputs(region, global_feature, vectors, codes)


def on_device(inputs: Inputs, device: str) -> Inputs:
    """The batch, held by the device."""
    return Inputs(*(one.to(device) for one in astuple(inputs)))


def released(inputs: Inputs, device: str) -> Callable[[], Tensor]:
    """A step of the released form."""
    torch.manual_seed(0)
    model = ReleasedBiAM((CHANNELS, GLOBAL, WORD, WIDTH)).to(device)
    features = inputs.region.float().permute(0, 3, 1, 2).flatten(2).contiguous()  # as its files hold them
    global_feature = inputs.global_feature.float()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=5e-4)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = released_loss(model(features, global_feature, inputs.vectors), inputs.codes)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def ours(inputs: Inputs, device: str, precision: str) -> Callable[[], Tensor]:
    """A step of ours."""
    torch.manual_seed(0)
    fabric = start_fabric(TrainConfig(precision=precision), torch.device(device))
    model = build(
        BiamConfig(preset="released", channels=WIDTH), FeatureSizes({"region": CHANNELS, "global": GLOBAL}, WORD)
    ).to(device)
    fitted = fabric.setup_module(model)
    vectors = inputs.vectors.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=5e-4, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        region, global_feature = inputs.region.to(device), inputs.global_feature.to(device)
        loss = ranking_loss(fitted(region, global_feature, vectors), inputs.codes.to(device), "released")
        fabric.backward(loss)
        optimizer.step()
        return loss.detach()

    return step


def one_line(arguments: argparse.Namespace) -> None:
    """What a child process does: build, warm up, time, and print its figures as JSON."""
    torch.set_num_threads(arguments.threads)
    idle_bytes = psutil.Process().memory_info().rss
    inputs = draw(arguments.labels, arguments.positives)
    if arguments.fed == "resident":
        inputs = on_device(inputs, arguments.device)
    if arguments.one == "released":
        step = released(inputs, arguments.device)
    else:
        step = ours(inputs, arguments.device, arguments.one)
    for _ in range(_WARM_UP):
        step()
    seconds = []
    for _ in range(arguments.steps):
        started = time.perf_counter()
        float(step())  # waits for a GPU, too
        seconds.append(time.perf_counter() - started)
    on_cpu = arguments.device == "cpu"
    peak_bytes = highest_rss_bytes() - idle_bytes if on_cpu else torch.cuda.max_memory_allocated()
    print(json.dumps({"seconds": sorted(seconds)[len(seconds) // 2], "peak_bytes": peak_bytes}))


def highest_rss_bytes() -> int:
    """Of this process, from /proc: `ru_maxrss` would begin with what the parent once held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def measure(kind: str, arguments: argparse.Namespace, fed: str, labels: int = 925, positives: int = 5) -> dict:
    """The figures of one kind of step, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.train_step", "--one", kind, "--fed", fed, "--labels", str(labels)]
    command += ["--positives", str(positives), "--threads", str(arguments.threads)]
    command += ["--steps", str(arguments.steps), "--device", arguments.device]
    started_as = {**os.environ, **patient(), **(compact() if kind != "released" else {})}  # as the stage's process is
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=started_as)
    figures = json.loads(done.stdout)
    print(
        f"{kind}, {fed}, {labels} labels: {figures['seconds']:.3f} s a step ({1 / figures['seconds']:.2f}/s), "
        f"peak {figures['peak_bytes'] / 1e6:,.0f} MB",
        flush=True,
    )
    return figures


def check() -> None:
    """How far the scores' losses of both are apart, without dropout and from the same weights."""
    inputs = draw(925, 5)
    theirs = ReleasedBiAM((CHANNELS, GLOBAL, WORD, WIDTH)).eval()
    model = build(
        BiamConfig(preset="released", channels=WIDTH), FeatureSizes({"region": CHANNELS, "global": GLOBAL}, WORD)
    ).eval()
    load_released_state(
        model, {key: value for key, value in theirs.state_dict().items() if key in released_state(model)}
    )
    features = inputs.region.float().permute(0, 3, 1, 2).flatten(2)
    with torch.no_grad():
        expected = released_loss(theirs(features, inputs.global_feature.float(), inputs.vectors), inputs.codes)
        found = ranking_loss(model(inputs.region, inputs.global_feature, inputs.vectors), inputs.codes, "released")
    print(f"losses from equal weights: released {expected:.7f}, ours {found:.7f}")


def main() -> None:
    """Measure all, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", choices=("released", "fp32", "bf16"), help=argparse.SUPPRESS)
    parser.add_argument("--fed", choices=("resident", "streamed"), default="resident", help=argparse.SUPPRESS)
    parser.add_argument("--labels", type=int, default=925, help=argparse.SUPPRESS)
    parser.add_argument("--positives", type=int, default=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one_line(arguments)
        return
    check()
    base = measure("released", arguments, "resident")
    for fed in ("resident",) if arguments.device == "cpu" else ("resident", "streamed"):
        for kind in ("fp32", "bf16"):
            mine = measure(kind, arguments, fed)
            epochs_h = EPOCHS * NUS_WIDE_IMAGES / IMAGES * mine["seconds"] / 3600
            print(
                f"  {base['seconds'] / mine['seconds']:.2f} times the steps/s of the released step with "
                f"{mine['peak_bytes'] / base['peak_bytes']:.2f} times the memory; {epochs_h:.2f} h for {EPOCHS} epochs"
            )
    measure("fp32", arguments, "resident", 7186, 40)


if __name__ == "__main__":
    main()
