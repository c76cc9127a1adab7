"""Extraction beside the released recipe, the network alone, and with a stub in the network's place; images/s.

    python -m benchmarks.extract
    python -m benchmarks.extract --photos FOLDER
    python -m benchmarks.extract --memory 64 256
    python -m benchmarks.extract --decoder torchvision
    python -m benchmarks.extract --backbone timm:resnet50 --precisions fp32
    python -m benchmarks.extract --device cuda --batch 256 --images 20000 --precisions fp32 fp16

Ours is the command `biam-pipe extract`, by the times in its receipts: from the first image of a shard to its committed
file. The first shard warms up and is left out, as the first batch of the released recipe is. Every figure comes from
processes of its own, one after the other. On a GPU the receipts' own seconds tell which stage bounds it: waiting for
images, the network, or the store.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING

import torch

from benchmarks.measured import biam_pipe
from benchmarks.photographs import photographs
from pipeline.engine.cluster.embedded import WORKER_ENVIRONMENT
from pipeline.machine.waiting import patient

if TYPE_CHECKING:
    from pipeline.backbones.network import Network

ROOT = Path(__file__).resolve().parents[1]


def cpu() -> str:
    """Name of the processor, its cores, and what it has for bfloat16."""
    lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    told = {name.strip(): value.strip() for name, value in lines.items()}
    fast = [name for name in ("avx512_bf16", "amx_bf16") if name in told.get("flags", "").split()]
    name = f"{told.get('model name', platform.processor())}, model {told.get('model', '?')}"
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {' and '.join(fast) or 'nothing'} for bfloat16"


def settings(arguments: argparse.Namespace, photos: Path, precision: str) -> dict[str, object]:
    """Settings of our command."""
    return {
        "dataset.folders": photos,
        "dataset.shard_images": arguments.shard_images,
        "backbone.name": arguments.backbone,
        "backbone.weights": "random:0",
        "extract.device": arguments.device,
        "extract.decoder": arguments.decoder,
        "extract.resize": arguments.resize,
        "extract.batch_images": arguments.batch,
        "extract.precision": precision,
        "extract.compile": str(arguments.compile).lower(),
    }


def ours(arguments: argparse.Namespace, photos: Path, work: Path, precision: str) -> float:
    """Images/s of the command; prints what the receipts say of its parts."""
    command = [sys.executable, "-m", "cli", "extract", "--dataset", "folder", "--work", str(work), "--json"]
    command += [f"--set={key}={value}" for key, value in settings(arguments, photos, precision).items()]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    found, parts = by_receipts(work)
    print(f"  extract, {precision}: {found:.2f} images/s (busy: {parts})", flush=True)
    return found


def by_receipts(work: Path) -> tuple[float, str]:
    """Images/s by the receipts of all shards but the first, which warms up, and the shares of the parts of the path."""
    paths = sorted(work.glob("folder/features/*/parquet/shard-*.json"))
    receipts = [json.loads(path.read_text()) for path in paths][1:]
    images = sum(one["rows"] for one in receipts)
    seconds = sum(one["rows"] / one["facts"]["images_per_s"] for one in receipts)
    parts = {part: sum(one["facts"][f"seconds_{part}"] for one in receipts) for part in ("network", "wait", "store")}
    return images / seconds, ", ".join(f"{part} {value / seconds:.0%}" for part, value in parts.items())


def inside(*arguments: str) -> float:
    """The number that a function below prints, in a process with the environment of a worker."""
    command = [sys.executable, "-m", "benchmarks.extract", "--inside", *arguments]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **WORKER_ENVIRONMENT, **patient()},
    )
    return float(done.stdout)


def network_alone(name: str, device: str, precision: str, batch: str, compiled: str) -> float:
    """Images/s of a backbone's layers alone, in all lanes, over a batch that lies on the device already."""
    from pipeline.backbones.network import network
    from schemas.config import BackboneConfig, ExtractConfig

    config = ExtractConfig(device=device, precision=precision, batch_images=int(batch), compile=compiled == "True")
    return rate_alone(network(BackboneConfig(name=name, weights="random:0"), config), 12)


def rate_alone(loaded: "Network", seconds: float) -> float:
    """Images/s of a network's layers in all lanes, for so long, over a batch that lies on its device."""
    batch, cuda = loaded.batch_images, loaded.device.type == "cuda"
    pixels = torch.randint(0, 256, (batch, *loaded.fit.size_px, 3), dtype=torch.uint8)
    lanes = 1 if cuda else loaded.lanes  # copies are left out here, so that one batch after the other fills a GPU
    begin = Barrier(lanes)

    def lane(_: int) -> float:
        """Images/s of one lane, beside the others."""
        with loaded.lane(), torch.inference_mode():
            images = loaded._normalised(pixels.to(loaded.device))
            for _ in range(2):
                loaded._computed(images)
            if cuda:
                torch.cuda.synchronize()
            begin.wait()
            passes, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                loaded._computed(images)
                if cuda:
                    torch.cuda.synchronize()
                passes += 1
            return passes * batch / (time.perf_counter() - started)

    with ThreadPoolExecutor(lanes) as pool:
        return sum(pool.map(lane, range(lanes)))


def stub(photos: str, work: str, decoder: str, resizer: str) -> float:
    """Images/s of the stage over the first shard of a work folder, a stub in the network's place."""
    from pipeline.backbones import BACKBONES
    from pipeline.engine.graph import inputs_of, resolve
    from pipeline.engine.sources import Sources
    from pipeline.engine.task import Task
    from pipeline.files.storage import Storage
    from pipeline.flow import stages
    from pipeline.settings.layers import configuration
    from pipeline.stages import extract

    BACKBONES.ours["stub"] = "benchmarks.stub_backbone"
    storage = Storage(str(Path(work, "folder").resolve()))
    sets = [f"dataset.folders={photos}", "backbone.name=stub", "backbone.weights=random:0", "extract.device=cpu"]
    sets += [f"extract.decoder={decoder}", f"extract.resize={resizer}"]
    config = configuration("folder", None, {}, sets, Path(work))
    described = [stage for stage in stages(config, Sources(storage)) if stage.name in ("index", "download", "extract")]
    graph = resolve(described, storage)
    node = graph["extract"]
    left = {name: [graph[name].ledger.read(0)] for name in ("index", "download")}
    task = Task(
        stage="extract",
        shard=0,
        storage=storage,
        folder=node.folder,
        recipe=node.digest,
        fingerprint="0" * 64,
        settings=node.stage.settings,
        inputs=inputs_of(graph, "extract", left),
        outputs=node.outputs,
    )
    extract.run(task)  # imports torch, starts its threads
    return float(extract.run(task)[0].facts["images_per_s"])


def rates(arguments: argparse.Namespace, photos: Path, folder: Path) -> None:
    """Print images/s and ratios."""
    images = len(list(photos.iterdir()))
    size = sum(path.stat().st_size for path in photos.iterdir()) / images
    print(f"{images} photographs of {size / 1000:.0f} kB in the mean, batches of {arguments.batch}")
    command = [sys.executable, "-m", "benchmarks.released_extract", str(photos), str(folder / "released.h5")]
    command += ["--images", str(arguments.shard_images)]
    released = None
    of_vgg = arguments.backbone == "vgg19"
    if arguments.device == "cpu" and of_vgg:
        released = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout)
        print(f"  released recipe: {released:.2f} images/s", flush=True)
    for precision in arguments.precisions:
        how = (arguments.backbone, arguments.device, precision, str(arguments.batch), str(arguments.compile))
        alone = inside("network", *how)
        print(f"  network alone, {precision}: {alone:.2f} images/s", flush=True)
        found = ours(arguments, photos, folder / f"work-{precision}", precision)
        beside = f"{found / released:.2f} times the released recipe, " if released else ""
        print(f"    {beside}{found / alone:.3f} of the network alone", flush=True)
    if not of_vgg:
        return
    work = str(folder / f"work-{arguments.precisions[0]}")
    around = inside("stub", str(photos), work, arguments.decoder, arguments.resize)
    print(f"  a stub in the network's place, maps of VGG-19's shapes: {around:.0f} images/s", flush=True)


def memory(arguments: argparse.Namespace, folder: Path) -> None:
    """Print the peak memory of the process tree for several numbers of images."""
    for images in arguments.memory:
        photos = folder / f"photos-{images}"
        photographs(photos, images)
        sets = settings(arguments, photos, arguments.precisions[0])
        work = str(folder / f"work-{images}")
        took = biam_pipe("extract", "--dataset", "folder", "--work", work, "--json", sets=sets)
        print(f"  {images} images, {arguments.precisions[0]}: {took}", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs; else they are synthesised")
    parser.add_argument("--images", type=int, default=2048, help="to synthesise; two shards at least")
    parser.add_argument("--shard-images", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--backbone", default="vgg19", help="the released recipe and the stub are for this one alone")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--decoder", choices=("pillow", "torchvision"), default="pillow")
    parser.add_argument("--resize", choices=("pillow", "torch"), default="pillow")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--memory", type=int, nargs="+", help="numbers of images; measures memory and nothing else")
    parser.add_argument("--inside", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        name, *rest = arguments.inside
        print({"network": network_alone, "stub": stub}[name](*rest))
        return
    gpu = f"; {torch.cuda.get_device_name()}" if arguments.device.startswith("cuda") else ""
    print(f"{cpu()}{gpu}; torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.memory:
            memory(arguments, folder)
            return
        if arguments.photos is None:
            photographs(folder / "photos", arguments.images)
        rates(arguments, (arguments.photos or folder / "photos").resolve(), folder)


if __name__ == "__main__":
    main()
