"""Whether a GPU gives what a CPU gives, and the same again: one function a check, each with what it goes through.

A check gives what it found, and raises `CheckError` where that is out of bounds.
"""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmarks.on_gpu import children
from benchmarks.on_gpu.bench import FIT, MAX_PIXELS, ROOT, Bench
from pipeline.backbones.network import Network
from pipeline.images.decode import decode
from pipeline.images.on_device import decode_on_device
from pipeline.images.resize import resize
from pipeline.machine.device import require_one_each
from pipeline.machine.precision import require_precision
from schemas.config import BackboneConfig, ExtractConfig
from schemas.errors import PipelineError, UsageError

# Of the largest value of a map, which is stored as float16: rounding alone comes to 5e-4.
_BOUNDS = {"fp32": 1e-3, "tf32": 5e-3, "fp16": 1e-2, "bf16": 8e-2}
_PIXEL_BOUND = 3.0  # mean difference from Pillow's, of 255
_FIGURE_BOUND = 5e-3
_SCORE_BOUND = 1e-2  # of the largest score


class CheckError(Exception):
    """What was found is out of bounds."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        covers: functions of the product, as module:name, whose branch for CUDA it goes through.
    """

    run: Callable[[Bench], str]
    covers: tuple[str, ...]

    @property
    def name(self) -> str:
        """As the table has it."""
        return self.run.__name__.replace("_", " ")


def features_against_the_cpu(bench: Bench) -> str:
    """Largest difference of each precision from the CPU's fp32, as a share of the map's largest value."""
    expected = _maps(bench, "cpu", "fp32")
    told, failed = [], []
    for precision in bench.precisions:
        found = _maps(bench, bench.device, precision)
        largest = max(_apart(found[column], expected[column]) for column in expected)
        told.append(f"{precision} {largest:.1e} (at most {_BOUNDS[precision]:.0e})")
        if not largest <= _BOUNDS[precision]:
            failed.append(precision)
    return _judged(", ".join(told), not failed)


def same_bits_whatever_the_batch(bench: Bench) -> str:
    """An image's maps beside others, alone, and from several threads at once."""
    network = _network(bench, bench.device, "fp32")
    pixels = bench.pixels
    together = network.run(pixels)
    with ThreadPoolExecutor(network.lanes) as pool:
        alone = list(pool.map(lambda image: network.run([image]), pixels))
    differing = {
        column
        for column, values in together.items()
        if values.tobytes() != np.concatenate([one[column] for one in alone]).tobytes()
    }
    # On a CPU convolutions of other batch sizes may sum in another order; there each is compared with itself.
    again = all(values.tobytes() == network.run(pixels)[column].tobytes() for column, values in together.items())
    exact = again and (not differing or network.device.type != "cuda")
    return _judged(f"{len(pixels)} images; maps that differ: {', '.join(sorted(differing)) or 'none'}", exact)


def batch_halves_without_memory(bench: Bench) -> str:
    """A batch for which there is no memory becomes a smaller one, and the run goes on."""
    batch = 64 if bench.rehearsal else 2048
    found = int(bench.inside(children.halving, bench.backbones[0], str(batch)))
    return _judged(f"{batch} -> {found} images", found < batch)


def decoder_of_the_device(bench: Bench) -> str:
    """Pixels of JPEGs that the device decodes, beside Pillow's."""
    jpegs = [path.read_bytes() for path in sorted(bench.photos.iterdir())[:24]]
    theirs = [resize(decode(jpeg, "exif", None, MAX_PIXELS), FIT) for jpeg in jpegs]
    found = decode_on_device(jpegs, FIT, bench.device)
    refused = sum(pixels is None for pixels in found)
    apart = [
        np.abs(pixels.astype(int) - other).mean()
        for pixels, other in zip(found, theirs, strict=True)
        if pixels is not None
    ]
    mean = float(np.mean(apart)) if apart else float("nan")
    return _judged(f"mean difference {mean:.2f} of 255, refused {refused} of {len(jpegs)}", mean <= _PIXEL_BOUND)


def compiled_network(bench: Bench) -> str:
    """Maps of the compiled network beside those of the plain one."""
    plain = _maps(bench, bench.device, "fp32")
    try:
        found = _network(bench, bench.device, "fp32", compiled=True).run(bench.pixels)
    except PipelineError as error:
        return f"not compiled here: {error}"
    largest = max(_apart(found[column], plain[column]) for column in plain)
    return _judged(f"largest difference {largest:.1e} (at most {_BOUNDS['fp32']:.0e})", largest <= _BOUNDS["fp32"])


def demo_from_images_to_report(bench: Bench) -> str:
    """All stages of the demo on the device, through the embedded cluster."""
    bench.biam_pipe("run", "--dataset", "demo", *_work(bench), sets=_sets(bench, bench.device, "on-device"))
    metrics = _metrics(bench, "on-device")
    return f"ZSL mAP {metrics['zsl']['map']:.3f}, GZSL mAP {metrics['gzsl']['map']:.3f}"


def maps_stay_on_the_device(bench: Bench) -> str:
    """Where training said that it keeps its features."""
    log = (_run(bench, "on-device") / "train.log").read_text()
    line = next((line for line in log.splitlines() if "are kept in" in line or "read from disk" in line), "not said")
    told = line.partition(" are ")[2].partition(":")[0] or line
    wanted = "kept in memory" if bench.device == "cpu" else f"kept in the memory of {bench.device}"
    return _judged(told, told.startswith(wanted))


def training_killed_and_resumed(bench: Bench) -> str:
    """The model of a run that was killed after its first checkpoint, beside that of one that was not."""
    sets = _sets(bench, bench.device, "resumed") | {"train.checkpoint_every_s": 0.01}
    killed = _killed(bench, sets)
    bench.biam_pipe("train", "--dataset", "demo", *_work(bench), sets=sets)
    undisturbed, resumed = (load_file(_run(bench, run) / "model.safetensors") for run in ("on-device", "resumed"))
    largest = max(float(np.abs(undisturbed[name] - resumed[name]).max(initial=0)) for name in undisturbed)
    return _judged(f"{killed}; largest difference of a weight {largest:.1e} (at most 1e-5)", largest <= 1e-5)


def evaluation_against_the_cpu(bench: Bench) -> str:
    """Figures of the same weights, scored by a CPU."""
    weights = {"train.weights": _run(bench, "on-device") / "model.safetensors"}
    sets = _sets(bench, "cpu", "on-cpu") | weights
    sets = {key: value for key, value in sets.items() if not key.startswith("train.epochs")}
    bench.biam_pipe("evaluate", "--dataset", "demo", *_work(bench), sets=sets)
    here, there = _metrics(bench, "on-device"), _metrics(bench, "on-cpu")
    largest = max(abs(here[section]["map"] - there[section]["map"]) for section in ("zsl", "gzsl"))
    return _judged(f"largest difference of mAP {largest:.1e} (at most {_FIGURE_BOUND:.0e})", largest <= _FIGURE_BOUND)


def predict_against_the_cpu(bench: Bench) -> str:
    """Scores of photographs by `predict`."""
    photos = [str(path) for path in sorted(bench.photos.iterdir())[:3]]
    out = ("--out", str(bench.folder / "predictions"), "--top", "5")
    found = {}
    for device in {bench.device, "cpu"}:
        sets = _sets(bench, device, "on-device")
        told = bench.biam_pipe("predict", *photos, "--dataset", "demo", *_work(bench), *out, sets=sets)
        found[device] = {
            (image["image"], label["label"]): label["score"] for image in told["images"] for label in image["labels"]
        }
    ours, theirs = found[bench.device], found["cpu"]
    both = ours.keys() & theirs.keys()
    largest = max(abs(ours[key] - theirs[key]) for key in both) / max(map(abs, theirs.values()))
    return _judged(f"{len(both)} scores, largest difference {largest:.1e} of the largest", largest <= _SCORE_BOUND)


def check_tells_the_device(bench: Bench) -> str:
    """What `check` says of the device."""
    done = subprocess.run(
        bench.command("check", "--dataset", "demo", *_work(bench), sets=_sets(bench, bench.device, "on-device")),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    found = json.dumps(json.loads(done.stdout))
    name = "cpu" if bench.device == "cpu" else torch.cuda.get_device_name()
    return _judged(name, name in found)


def more_processes_than_devices(bench: Bench) -> str:
    """Training by one process more than there are GPUs is refused; processes share a CPU."""
    device = torch.device(bench.device)
    try:
        require_one_each(device, 1 + torch.cuda.device_count())
    except UsageError:
        return _judged("refused", device.type == "cuda")
    return _judged("they share the CPU", device.type == "cpu" or torch.cuda.device_count() == 0)


def tf32_on_cuda_alone(bench: Bench) -> str:
    """The number format that only CUDA has is refused elsewhere."""
    try:
        require_precision("tf32", bench.device, "extract.precision")
    except UsageError:
        return _judged("refused", bench.device == "cpu")
    return _judged("taken", bench.device != "cpu")


CHECKS = (
    Check(
        features_against_the_cpu,
        (
            "pipeline.backbones.network:__init__",
            "pipeline.backbones.network:_pass",
            "pipeline.backbones.network:_stored",
            "pipeline.backbones.network:_compute_exactly",
        ),
    ),
    Check(same_bits_whatever_the_batch, ("pipeline.backbones.network:lane",)),
    Check(batch_halves_without_memory, ()),
    Check(decoder_of_the_device, ()),
    Check(compiled_network, ()),
    Check(
        demo_from_images_to_report,
        (
            "pipeline.engine.task:place_of",
            "pipeline.stages.extract:_require_device",
            "pipeline.machine.device:resolve_device",
            "pipeline.inference.determinism:repeatable",
            "pipeline.models.shared.norm:forward",
            "pipeline.training.fabric:start_fabric",
        ),
    ),
    Check(
        maps_stay_on_the_device,
        ("pipeline.batches.feature_cache:free_memory", "pipeline.batches.feature_cache:open_cache"),
    ),
    Check(training_killed_and_resumed, ("pipeline.training.checkpoint:_tensors", "pipeline.training.checkpoint:_fill")),
    Check(evaluation_against_the_cpu, ()),
    Check(predict_against_the_cpu, ()),
    Check(check_tells_the_device, ("pipeline.commands.checks.machine:devices",)),
    Check(tf32_on_cuda_alone, ("pipeline.machine.precision:require_precision",)),
    Check(more_processes_than_devices, ("pipeline.machine.device:require_one_each",)),
)


def _judged(told: str, holds: bool) -> str:
    if not holds:
        raise CheckError(told)
    return told


def _network(bench: Bench, device: str, precision: str, *, compiled: bool = False) -> Network:
    extract = ExtractConfig(device=device, precision=precision, batch_images=bench.batch_images, compile=compiled)
    return Network(BackboneConfig(name=bench.backbones[0], weights="random:0"), extract)


def _maps(bench: Bench, device: str, precision: str) -> dict[str, NDArray[Any]]:
    return _network(bench, device, precision).run(bench.pixels)


def _apart(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference as a share of the largest value."""
    here, there = found.astype(np.float32), expected.astype(np.float32)
    return float(np.abs(here - there).max() / np.abs(there).max())


def _work(bench: Bench) -> tuple[str, str]:
    return "--work", str(bench.folder / "work")


def _run(bench: Bench, run: str) -> Path:
    return bench.folder / "work/demo/runs" / run


def _metrics(bench: Bench, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_run(bench, run) / "metrics.json").read_text())
    return found


def _sets(bench: Bench, device: str, run: str) -> dict[str, object]:
    devices = {f"{section}.device": device for section in ("extract", "train", "evaluate")}
    named = {"backbone.name": bench.backbones[0], "backbone.weights": "random:0", "train.run": run}
    if bench.rehearsal:
        return {**devices, **named, "train.epochs": 2, "model.channels": 16, "dataset.num_images": 80}
    return {**devices, **named, "train.epochs": 10}


def _killed(bench: Bench, sets: Mapping[str, object]) -> str:
    """Start training and kill it once it has left a checkpoint."""
    command = bench.command("train", "--dataset", "demo", *_work(bench), sets=sets)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if any((_run(bench, str(sets["train.run"])) / "checkpoint").glob("*.safetensors")):
            process.send_signal(signal.SIGKILL)
            process.wait()
            return "killed after a checkpoint"
        time.sleep(0.02)
    return "ended before it could be killed"
