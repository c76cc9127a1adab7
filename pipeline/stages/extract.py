"""Runs every image of a shard through the backbone and stores its maps: stage `extract`.

The network works ahead of the store. An image that fails, here or in the download, costs its own row and no other.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backbones import BACKBONES, weights
from pipeline.engine.task import Output, Task
from pipeline.files.storage import Storage
from pipeline.images.decode import ANTIALIAS
from pipeline.images.on_device import decoder, interpolation
from pipeline.images.ready import PixelOptions
from pipeline.images.rows import image_rows
from pipeline.inference.mapping import Mapped, mapped
from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch
from pipeline.stores.content import ContentHash, spec_content
from schemas.config import BackboneConfig, ExtractConfig, StoreConfig
from schemas.features import FeatureSpec, PreprocessSpec
from schemas.receipts import Receipt

if TYPE_CHECKING:
    from pipeline.backbones.network import Network

VERSION = 3

SPEC = "spec.json"
CARD = "README.md"

_LIBRARIES = ("torch", "torchvision", "pillow", "numpy")  # those whose version can show in the numbers


@dataclass(frozen=True)
class Settings:
    """What `run` needs.

    Attributes:
        max_pixels: an image whose header announces more is not decoded.
        threads: that compute on a CPU; None for one a core.
    """

    backbone: BackboneConfig
    extract: ExtractConfig
    store: StoreConfig
    max_pixels: int
    threads: int | None = None


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


def sources(settings: Settings) -> tuple[str, ...]:
    """Paths of outside files that shape the output."""
    path = weights.source(settings.backbone)
    return () if path is None else (path,)


def recipe(settings: Settings) -> dict[str, Any]:
    """Settings that shape the numbers, by dotted key. A weights file counts by name here, by hash through `sources`."""
    room, jpeg_device = BACKBONES.load(settings.backbone.name), settings.extract.jpeg_device
    return {
        "backbone.name": settings.backbone.name,
        "backbone.weights": weights.label(settings.backbone, room.PUBLISHED),
        "backbone.input_px": settings.backbone.input_px,
        "backbone.layers": list(room.OFFER.columns(settings.backbone)),
        "extract.precision": settings.extract.precision,
        "extract.compile": settings.extract.compile,
        "extract.orientation": settings.extract.orientation,
        "images.decoder": decoder(jpeg_device),
        "images.resize": [interpolation(jpeg_device), "antialias" if ANTIALIAS else "no antialias"],
    }


def spec(settings: Settings, recipe: str) -> FeatureSpec:
    """Everything that shaped the numbers; published weights are fetched to know their whole hash.

    Args:
        recipe: fingerprint of the stage.

    Raises:
        PipelineError: the weights cannot be had.
        IntegrityError: they are not the published ones.
    """
    config = settings.backbone
    room = BACKBONES.load(config.name)
    preprocess = PreprocessSpec(
        decoder=decoder(settings.extract.jpeg_device),
        orientation=settings.extract.orientation,
        resize=(config.input_px, config.input_px),
        interpolation=interpolation(settings.extract.jpeg_device),
        antialias=ANTIALIAS,
        mean=room.NORMALISATION.mean,
        std=room.NORMALISATION.std,
    )
    return FeatureSpec(
        backbone=config.name,
        weights=weights.label(config, room.PUBLISHED),
        weights_sha256=weights.sha256(config, room.PUBLISHED),
        maps=room.OFFER.maps(config),
        preprocess=preprocess,
        precision=settings.extract.precision,
        compiled=settings.extract.compile,
        recipe=recipe,
        versions={name: version(name) for name in _LIBRARIES},
    )


def run(task: Task) -> list[Output]:
    """Write the feature shard of the task, or, where it has no shard, the spec of all of them.

    Raises:
        PipelineError: the images or the weights cannot be had.
        IntegrityError: a shard upstream or the weights file is damaged.
        InterruptedRunError: asked to stop; nothing of the shard stays.
        TimeBudgetError: the time budget is used up; nothing of the shard stays.
    """
    return [_describe(task) if task.shard is None else _shard(task)]


def _describe(task: Task) -> Output:
    shared = spec(task.settings, task.recipe)
    path = task.path(task.stage, SPEC)
    task.storage.write(path, (shared.model_dump_json(indent=2) + "\n").encode())
    return Output((path,), rows=0, content=spec_content(shared))  # the store does not count


def write_card(settings: Settings, storage: Storage, folder: str, receipts: Sequence[Receipt]) -> None:
    """Write the feature card of a folder whose shards are all there: their counts are known only then."""
    from pipeline.stores.card import card

    config = settings.backbone
    described = FeatureSpec.model_validate_json(storage.read(f"{folder}/{SPEC}"))
    licence = weights.licence(config, BACKBONES.load(config.name).PUBLISHED)
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.counts)
    page = card(Path(storage.root).name, described, STORES.load(settings.store.name), licence, counts)
    storage.write(f"{folder}/{CARD}", page.encode())


def _shard(task: Task) -> Output:
    from pipeline.backbones.network import network

    settings: Settings = task.settings
    store = STORES.load(settings.store.name)
    path = task.path(task.stage, task.shard_name + store.SUFFIX)
    described = spec(settings, task.recipe)
    loaded = network(settings.backbone, settings.extract, settings.threads)
    tally, content = _Tally(), ContentHash(described)
    started = time.perf_counter()
    with task.storage.commit(path) as temporary, _mapped(task, loaded) as batches:
        store.write(temporary, described, settings.store, content.passing(_features(batches, tally)))
    rows, seconds = tally.counts.total(), time.perf_counter() - started
    facts = {
        "device": str(loaded.device),
        "batch_images": loaded.batch_images,
        "images_per_s": round(rows / seconds, 3),
        "seconds_network": round(tally.seconds_network, 3),
        "seconds_wait": round(tally.seconds_wait, 3),
        "seconds_store": round(tally.seconds_store, 3),
    }
    if task.careful:
        facts["careful"] = True
    counts = dict(sorted(tally.counts.items()))
    return Output((path,), rows, counts=counts, content=content.hexdigest(), facts=facts)


def _mapped(task: Task, network: "Network") -> AbstractContextManager[Iterator[Mapped]]:
    """The shard's images with their maps, in order."""
    settings: Settings = task.settings
    config = settings.extract
    pixels = PixelOptions(config.orientation, settings.max_pixels, settings.backbone.input_px, config.jpeg_device)
    return mapped(
        image_rows(task), network, pixels, config.decode_threads, isolated=task.careful, deadline=task.deadline
    )


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
