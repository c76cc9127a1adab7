"""Runs every image of a shard through the backbone and stores its maps: stage `extract`.

The network works ahead of the store. An image that fails, here or in the download, costs its own row and no other.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from pipeline.backbones import BACKBONES, describe, settled, weights
from pipeline.backbones.description import PIXEL_MAX
from pipeline.batches.feature_files import estimate, leave_spec, outputs, pages
from pipeline.engine.cluster.gpus import require_gpu, visible_gpus
from pipeline.engine.sources import Sources, require_unchanged
from pipeline.engine.task import Output, Stage, Task, place_of
from pipeline.images.on_device import decoder, interpolation
from pipeline.images.ready import PixelOptions
from pipeline.images.resize import ANTIALIAS
from pipeline.images.rows import image_rows
from pipeline.inference.mapping import Mapped, mapped
from pipeline.machine.device import require_device
from pipeline.machine.precision import require_precision, told_slower
from pipeline.net.fetch import fetching
from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch
from pipeline.stores.shard import write_shard
from schemas.command import Command
from schemas.config import BackboneConfig, Config, DownloadConfig, ExtractConfig, StoreConfig
from schemas.errors import UsageError
from schemas.features import FeatureSpec, PreprocessSpec
from schemas.receipts import BOUND
from schemas.section import recipe

if TYPE_CHECKING:
    from pipeline.backbones.network import Network

VERSION = 3
# How images become pixels, for receipts: 2 since grey of 16 bits is scaled and metadata is left out. No part of the
# recipe: features of all other images stay as they were, and `commands.reexamine` looks which those are.
DECODING = 2

_LIBRARIES = ("torch", "torchvision", "pillow", "numpy")  # those whose version can show in the numbers


@dataclass(frozen=True)
class Settings:
    """What `run` needs.

    Attributes:
        download: how weights are fetched; an image whose header announces more pixels than it allows is not decoded.
        threads: that compute on a CPU; None for one a core.
        sources: sha256 of the user's weights file, by path; empty where they are published or random.
    """

    backbone: BackboneConfig
    extract: ExtractConfig
    store: StoreConfig
    download: DownloadConfig
    threads: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Tally:
    """What a shard came to, gathered while it is written.

    Attributes:
        seconds_network: as `Mapped` says, all lanes together: up to so many times the seconds of the clock.
        seconds_wait: that the network had no images.
        seconds_store: in which rows were hashed, compressed and written.
    """

    counts: Counter[str] = field(default_factory=Counter)
    seconds_network: float = 0.0
    seconds_wait: float = 0.0
    seconds_store: float = 0.0


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings. A weights file counts by its name and its hash, whatever its path."""
    backbone = settled(config.backbone)
    described = describe(backbone)
    jpeg_device, path = config.extract.jpeg_device, weights.source(backbone)
    hashes = {} if path is None else sources.hashes((path,), "backbone.weights")
    shaping = recipe("backbone", backbone) | recipe("extract", config.extract)
    for name in ("decoder", "resize"):
        shaping.pop(f"extract.{name}", None)  # told by what it stands for
    shaping |= {
        "backbone.weights": weights.label(backbone, described.published),
        "backbone.weights_file": hashes.get(path or ""),
        "backbone.layers": [one.column for one in described.maps],
        "images.decoder": decoder(jpeg_device),
        "images.resize": [
            interpolation(described.interpolation, jpeg_device, config.extract.resize),
            "antialias" if ANTIALIAS else "no antialias",
        ],
    }
    shaping |= described.recipe(backbone) | BACKBONES.recipe(backbone.name)
    return Stage(
        name="extract",
        version=VERSION,
        recipe=shaping,
        settings=Settings(backbone, config.extract, config.store, config.download, config.engine.threads, hashes),
        run=run,
        upstream={"index": "shard", "download": "shard"},
        reads={"index": "labelled" if config.extract.only_labelled else "places"},
        outputs=outputs(config.store),
        place=place_of(config.extract.device),
        folder=f"features/{backbone.name.replace(':', '-')}-{{fp8}}/{config.store.name}",
        consumes={"download": "images"},
        prunes=not config.images.keep,
        pages=pages(backbone, config.store.name),
        estimate=partial(estimate, described.maps, config.store),
        notes=tuple(note for note in [weights.terms(backbone, described.published)] if note),
        require=partial(_require, config),
    )


def _require(config: Config, scheduler: str | None) -> None:
    """See that a backbone that is not ours gives what it describes, and that weights and device are here.

    The workers of a user's cluster may have what this machine has not.

    Raises:
        PipelineError: the device is not here, or the package.
        UsageError: it has a number, but each worker has one GPU; or the backbone is not what it says.
    """
    from pipeline.backbones.trial import trial

    name = config.backbone.name
    BACKBONES.tried(name, partial(trial, config.backbone))
    if scheduler is None:
        weights.require_installed(config.backbone, describe(config.backbone).published)
        _require_device(config.extract.device)
        require_precision(config.extract.precision, config.extract.device, "extract.precision")


def _require_device(name: str) -> None:
    if not name.startswith("cuda"):
        require_device(name, "extract.device")
        return
    require_gpu(len(visible_gpus()))
    if name not in ("cuda", "cuda:0"):
        raise UsageError(
            f"setting extract.device: got {name!r}, but each worker of the embedded cluster has one GPU, which it "
            "calls cuda:0;",
            expected="cuda",
            hint="CUDA_VISIBLE_DEVICES chooses GPUs. Use:",
            run=Command(sets={"extract.device": "cuda"}),
        )


def spec(settings: Settings, recipe: str) -> FeatureSpec:
    """Everything that shaped the numbers; published weights are fetched to know their whole hash.

    Args:
        recipe: fingerprint of the stage.

    Raises:
        PipelineError: the weights cannot be had.
        IntegrityError: they are not the published ones.
    """
    config = settings.backbone
    described = describe(config)
    seen = described.normalisation
    preprocess = PreprocessSpec(
        decoder=decoder(settings.extract.jpeg_device),
        orientation=settings.extract.orientation,
        resize=described.resize,
        cover=described.fit(config).cover_px,
        interpolation=interpolation(described.interpolation, settings.extract.jpeg_device, settings.extract.resize),
        antialias=ANTIALIAS,
        pixel_scale=None if seen.pixel_scale == PIXEL_MAX else seen.pixel_scale,
        mean=seen.mean,
        std=seen.std,
    )
    return FeatureSpec(
        backbone=config.name,
        weights=weights.label(config, described.published),
        weights_sha256=weights.sha256(config, described.published),
        maps=described.maps,
        preprocess=preprocess,
        precision=settings.extract.precision,
        compiled=settings.extract.compile,
        recipe=recipe,
        versions={name: version(name) for name in (*_LIBRARIES, *described.libraries)},
    )


def run(task: Task) -> list[Output]:
    """Write the feature shard of the task, or, where it has no shard, the spec of all of them.

    Raises:
        PipelineError: the images or the weights cannot be had.
        IntegrityError: a shard upstream or the weights file is damaged, or no longer the one that the run began with.
        InterruptedRunError: asked to stop; nothing of the shard stays.
        TimeBudgetError: the time budget is used up; nothing of the shard stays.
    """
    with fetching(task.settings.download):
        require_unchanged(task.settings.sources)
        described = spec(task.settings, task.recipe)
        return [leave_spec(task, described) if task.shard is None else _shard(task, described)]


def _shard(task: Task, described: FeatureSpec) -> Output:
    from pipeline.backbones.network import network

    settings: Settings = task.settings
    loaded = network(settings.backbone, settings.extract, settings.threads)
    tally, started = _Tally(), time.perf_counter()
    with task.storage.commit(task.path("features")) as temporary, _mapped(task, loaded) as batches:
        content = write_shard(temporary, described, settings.store, _features(batches, tally))
    rows, seconds = tally.counts.total(), time.perf_counter() - started
    facts = {
        "decoding": DECODING,
        "device": str(loaded.device),
        "batch_images": loaded.batch_images,
        "images_per_s": round(rows / seconds, 3),
        "seconds_network": round(tally.seconds_network, 3),
        "seconds_wait": round(tally.seconds_wait, 3),
        "seconds_store": round(tally.seconds_store, 3),
    }
    facts[BOUND] = {
        "decoding": round(tally.seconds_wait, 3),
        "backbone": round(tally.seconds_network / loaded.lanes, 3),
        "disk": round(tally.seconds_store, 3),
    }
    if task.isolated:
        facts["isolated"] = True
    if slower := told_slower("extract.precision", settings.extract.precision, loaded.device.type):
        facts["precision_note"] = slower
    facts |= STORES.recipe(settings.store.name)  # not in the recipe: features that are converted keep theirs
    counts = dict(sorted(tally.counts.items()))
    return Output(("features",), rows, counts=counts, content=content.hexdigest(), parts=content.parts, facts=facts)


def _mapped(task: Task, network: "Network") -> AbstractContextManager[Iterator[Mapped]]:
    """The shard's images with their maps, in order."""
    settings: Settings = task.settings
    config = settings.extract
    pixels = PixelOptions.of(config, settings.download.max_pixels, network.fit)
    assert task.shard is not None, "images come by shards"
    rows = image_rows(task.inputs, task.shard, only_labelled=config.only_labelled)
    return mapped(rows, network, pixels, config.decode_threads, isolated=task.isolated, deadline=task.deadline)


def _features(batches: Iterable[Mapped], tally: _Tally) -> Iterator[FeatureBatch]:
    """What is stored of each batch, counted and timed."""
    for batch in batches:
        started = time.perf_counter()
        statuses = [str(image.status) for image in batch.images]
        tally.counts.update(statuses)
        tally.seconds_wait += batch.seconds_wait
        tally.seconds_network += batch.seconds_network
        image_ids, errors = [image.image_id for image in batch.images], [image.error for image in batch.images]
        yield FeatureBatch(image_ids, statuses, errors, batch.maps)
        tally.seconds_store += time.perf_counter() - started
