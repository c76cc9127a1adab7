"""Figures of a GPU: extraction, Python's lock, and training steps; one function a group of rows."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

from benchmarks import train_step
from benchmarks.extract import by_receipts, rate_alone
from benchmarks.on_gpu.bench import FIT, MAX_PIXELS, Bench
from pipeline.backbones.network import Network
from pipeline.images.decode import decode
from pipeline.images.local import LocalFile
from pipeline.images.ready import ImageRow, PixelOptions
from pipeline.images.resize import resize
from pipeline.inference.mapping import mapped
from pipeline.machine.device import cores
from schemas.config import BackboneConfig, ExtractConfig
from schemas.errors import PipelineError

_SWITCH_S = 1e-4  # after which a thread that wants Python's lock gets it


def extraction(bench: Bench, until: float) -> Iterator[tuple[str, str]]:
    """Images/s of `extract` by backbone, precision, decoder and compiled or not, beside what bounds it.

    Yields:
        What is measured, and the figures: images/s of `biam-pipe extract` by its receipts, of the network alone with
        images on the device, and the share of the smaller of that and of decoding alone.
    """
    decoding = _decoding(bench)
    yield "decoding alone (Pillow, all cores)", f"{decoding:.0f} images/s"
    first, *others = bench.backbones
    fastest = bench.precisions[-1]
    if bench.rehearsal:  # each costs a start of the command
        plans = [(first, fastest, "torchvision", False)]
    else:
        plans = [(first, precision, "pillow", False) for precision in bench.precisions]
        plans += [(first, fastest, "torchvision", False), (first, fastest, "pillow", True)]
        plans += [(name, fastest, "pillow", False) for name in others]
    for backbone, precision, decoder, compiled in plans:
        told = f"extract, {backbone}, {precision}, {decoder}{', compiled' if compiled else ''}"
        if time.monotonic() > until:
            yield told, "not measured: no time left"
            continue
        config = ExtractConfig(
            device=bench.device,
            precision=precision,
            decoder=decoder,
            compile=compiled,
            batch_images=bench.batch_images,
        )
        try:
            network = Network(BackboneConfig(name=backbone, weights="random:0"), config)
            alone = rate_alone(network, 0.3 if bench.rehearsal else 3)
            del network  # the command loads its own, beside which a GPU may not hold it
            found, parts = _extract(bench, backbone, config)
        except (PipelineError, RuntimeError) as error:
            yield told, f"failed: {str(error).strip().splitlines()[-1]}"
            continue
        bound = min(alone, decoding) if decoder == "pillow" else alone  # there the device decodes, too
        yield told, f"{found:.0f} images/s; network alone {alone:.0f}; {found / bound:.2f} of what bounds it ({parts})"


def python_lock(bench: Bench, until: float) -> Iterator[tuple[str, str]]:
    """How long Python's lock is held for an image, which is all that threads beside one GPU share.

    Measured by what a thread that only counts loses beside the extraction path, less the store.
    """
    del until
    alone = _counted(lambda: time.sleep(0.2 if bench.rehearsal else 2.0))[0]
    config = ExtractConfig(device=bench.device, precision=bench.precisions[-1], batch_images=bench.batch_images)
    network = Network(BackboneConfig(name=bench.backbones[0], weights="random:0"), config)
    rows = _rows(bench)
    _drain(network, config, rows[: 2 * bench.batch_images])
    rate, seconds = _counted(lambda: _drain(network, config, rows))
    held_ms = 1000 * max(0.0, 1 - rate / alone) * seconds / len(rows)
    yield (
        "Python's lock held an image",
        f"{held_ms:.2f} ms ({len(rows) / seconds:.0f} images/s beside a counting thread)",
    )


def steps(bench: Bench, until: float) -> Iterator[tuple[str, str]]:
    """Training steps of BiAM by precision, resident and streamed, with the hours of 40 NUS-WIDE epochs."""
    labels, positives, repeated = (20, 2, 1) if bench.rehearsal else (925, 5, 20)
    arguments = argparse.Namespace(threads=cores(), steps=repeated, device=bench.device)
    feeds = ("resident",) if bench.device == "cpu" else ("resident", "streamed")
    for fed in feeds:
        for precision in ("fp32",) if bench.rehearsal else ("fp32", "bf16"):
            told = f"training step, {precision}, {fed}, {labels} labels, batch {train_step.IMAGES}"
            if time.monotonic() > until:
                yield told, "not measured: no time left"
                continue
            found = train_step.measure(precision, arguments, fed, labels, positives)
            epochs_h = train_step.EPOCHS * train_step.NUS_WIDE_IMAGES / train_step.IMAGES * found["seconds"] / 3600
            peak = f"peak {found['peak_bytes'] / 1e6:,.0f} MB"
            yield told, f"{1 / found['seconds']:.1f} steps/s, {peak}, {epochs_h:.2f} h for 40 epochs of NUS-WIDE"


MEASURES = (extraction, python_lock, steps)


def _decoding(bench: Bench) -> float:
    """Images/s of Pillow on all cores."""
    paths = sorted(bench.photos.iterdir())[: min(bench.images, 1024)]

    def one(path: Path) -> None:
        resize(decode(path.read_bytes(), "exif", None, MAX_PIXELS), FIT)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(one, paths[:16]))
        started = time.perf_counter()
        list(pool.map(one, paths))
        return len(paths) / (time.perf_counter() - started)


def _extract(bench: Bench, backbone: str, config: ExtractConfig) -> tuple[float, str]:
    """Images/s of the command by its receipts without the first shard's, and the shares of its parts."""
    work = bench.folder / f"extract-{backbone.replace(':', '-')}-{config.precision}-{config.decoder}-{config.compile}"
    sets = {f"extract.{key}": getattr(config, key) for key in ("device", "precision", "decoder", "batch_images")}
    sets |= {"extract.compile": str(config.compile).lower(), "dataset.shard_images": bench.images // 6}
    sets |= {"dataset.folders": bench.photos, "backbone.name": backbone, "backbone.weights": "random:0"}
    bench.biam_pipe("extract", "--dataset", "folder", "--work", str(work), sets=sets)
    return by_receipts(work)


def _rows(bench: Bench) -> list[ImageRow]:
    paths = sorted(bench.photos.iterdir())[: min(bench.images, 4096)]
    return [ImageRow(path.name, "ok", None, LocalFile(str(path), path.stat().st_size), None) for path in paths]


def _drain(network: Network, config: ExtractConfig, rows: list[ImageRow]) -> None:
    """Take all maps of some images."""
    pixels = PixelOptions("exif", MAX_PIXELS, network.fit, config.jpeg_device)
    with mapped(rows, network, pixels, None) as batches:
        for _ in batches:
            pass


def _counted(work: Callable[[], None]) -> tuple[float, float]:
    """Counts a second of a thread beside some work, and the seconds that the work took."""
    before, stop, count = sys.getswitchinterval(), Event(), 0

    def counting() -> None:
        nonlocal count
        while not stop.is_set():
            for _ in range(100):
                count += 1

    sys.setswitchinterval(_SWITCH_S)
    thread = Thread(target=counting)
    started = time.perf_counter()
    thread.start()
    try:
        work()
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    seconds = time.perf_counter() - started
    return count / seconds, seconds
