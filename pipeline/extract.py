"""Runs every image of a shard through the backbone and stores its maps: stage `extract`.

Threads decode ahead of the network. An image that fails, here or in the download, costs its own row and no other.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.backbones import BACKBONES, weights
from pipeline.core import stopping
from pipeline.core.ahead import ahead
from pipeline.core.tables import read_table
from pipeline.core.task import Output, Task
from pipeline.images.decode import ANTIALIAS, DECODER, INTERPOLATION
from pipeline.images.ready import ImageRow, PixelOptions, ReadyImage, ready
from pipeline.images.source import ImageSource
from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch, dtype_of
from pipeline.stores.content import ContentHash, spec_content
from schemas.config import BackboneConfig, ExtractConfig, StoreConfig
from schemas.errors import IntegrityError, PipelineError
from schemas.features import FeatureSpec, PreprocessSpec
from schemas.receipts import Receipt
from schemas.status import ImageStatus

if TYPE_CHECKING:
    from pipeline.backbones.network import Network

VERSION = 1

_LOCAL = "local"
_BATCHES_AHEAD = 2  # images decoded or being decoded while the network works: one batch for it, one in the making
_LIBRARIES = ("torch", "torchvision", "pillow", "numpy")  # those whose version can show in the numbers


@dataclass(frozen=True)
class Settings:
    """What `run` needs.

    Attributes:
        max_pixels: an image whose header announces more is not decoded.
        threads: of torch on a CPU; None for all cores.
    """

    backbone: BackboneConfig
    extract: ExtractConfig
    store: StoreConfig
    max_pixels: int
    threads: int | None = None


@dataclass
class _Tally:
    """What a shard came to, gathered while it is written."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds_network: float = 0.0
    seconds_wait: float = 0.0


def sources(settings: Settings) -> tuple[str, ...]:
    """Paths of outside files that shape the output."""
    path = weights.source(settings.backbone)
    return () if path is None else (path,)


def recipe(settings: Settings) -> dict[str, Any]:
    """Settings that shape the numbers, by dotted key. A weights file counts by name here, by hash through `sources`."""
    published = BACKBONES.load(settings.backbone.name).PUBLISHED
    return {
        "backbone.name": settings.backbone.name,
        "backbone.weights": weights.label(settings.backbone, published),
        "backbone.input_px": settings.backbone.input_px,
        "extract.precision": settings.extract.precision,
        "extract.orientation": settings.extract.orientation,
        "images.decoder": DECODER,
        "images.resize": [INTERPOLATION, "antialias" if ANTIALIAS else "no antialias"],
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
        decoder=DECODER,
        orientation=settings.extract.orientation,
        resize=(config.input_px, config.input_px),
        interpolation=INTERPOLATION,
        antialias=ANTIALIAS,
        mean=room.NORMALISATION.mean,
        std=room.NORMALISATION.std,
    )
    return FeatureSpec(
        backbone=config.name,
        weights=weights.label(config, room.PUBLISHED),
        weights_sha256=weights.sha256(config, room.PUBLISHED),
        maps=room.maps(config),
        preprocess=preprocess,
        precision=settings.extract.precision,
        recipe=recipe,
        versions={name: version(name) for name in _LIBRARIES},
    )


def run(task: Task) -> list[Output]:
    """Write the feature shard of the task, or, where it has no shard, the spec and the card of all of them.

    Raises:
        PipelineError: the images or the weights cannot be had.
        IntegrityError: a shard upstream or the weights file is damaged.
        InterruptedRunError: asked to stop; nothing of the shard stays.
        TimeBudgetError: the time budget is used up; nothing of the shard stays.
    """
    return [_describe(task) if task.shard is None else _shard(task)]


def _describe(task: Task) -> Output:
    from pipeline.stores.card import card

    settings: Settings = task.settings
    shared = spec(settings, task.recipe)
    paths = task.path(task.stage, "spec.json"), task.path(task.stage, "README.md")
    licence = weights.licence(settings.backbone, BACKBONES.load(settings.backbone.name).PUBLISHED)
    page = card(Path(task.root).name, shared, STORES.load(settings.store.name), licence)
    for path, text in zip(paths, (shared.model_dump_json(indent=2) + "\n", page), strict=True):
        task.storage.write(path, text.encode())
    return Output(paths, rows=0, content=spec_content(shared))  # neither the card's wording nor the store counts


def _shard(task: Task) -> Output:
    from pipeline.backbones.network import network

    settings: Settings = task.settings
    store = STORES.load(settings.store.name)
    path = task.path(task.stage, task.shard_name + store.SUFFIX)
    described = spec(settings, task.recipe)
    config = settings.extract
    loaded = network(settings.backbone, config.device, config.batch_images)
    tally, content = _Tally(), ContentHash(described)
    started = time.perf_counter()
    pixels = PixelOptions(config.orientation, settings.max_pixels, settings.backbone.input_px)
    make_ready = partial(ready, options=pixels)
    limit = _BATCHES_AHEAD * config.batch_images
    with task.storage.commit(path) as temporary, ahead(make_ready, _rows(task), config.decode_threads, limit) as images:
        features = content.passing(_features(task, images, loaded, tally))
        store.write(temporary, described, settings.store, features)
    rows = tally.counts.total()
    facts = {
        "device": str(loaded.device),
        "images_per_s": round(rows / (time.perf_counter() - started), 3),
        "seconds_network": round(tally.seconds_network, 3),
        "seconds_wait": round(tally.seconds_wait, 3),
    }
    counts = dict(sorted(tally.counts.items()))
    return Output((path,), rows, counts=counts, content=content.hexdigest(), facts=facts)


def _rows(task: Task) -> Iterator[ImageRow]:
    """The rows of the shard in index order; image bytes are read a few at a time."""
    index, downloads = task.inputs["index"][0], task.inputs["download"][0]
    places = read_table(task.storage, index.files[0].path, ["image_id", "locations", "rotation"])
    outcomes = read_table(task.storage, downloads.files[0].path)
    if places.num_rows != outcomes.num_rows:
        raise _mixed_up(task, f"{places.num_rows} rows in the index, {outcomes.num_rows} in downloads")
    images = _image_rows(task, downloads)
    for number, (place, outcome) in enumerate(zip(places.to_pylist(), outcomes.to_pylist(), strict=True)):
        image = next(images, {"image_id": None, "data": None})
        if not place["image_id"] == outcome["image_id"] == image["image_id"]:
            raise _mixed_up(
                task, f"row {number} is {place['image_id']!r} in the index, {image['image_id']!r} in images"
            )
        path = next((one["address"] for one in place["locations"] or () if one["source"] == _LOCAL), None)
        if outcome["status"] == ImageStatus.OK and image["data"] is None and path is None:
            raise _mixed_up(task, f"{place['image_id']!r} is ok, but its bytes are not there")
        source = ImageSource(image["data"], path, outcome["size_bytes"], outcome["sha256"])
        yield ImageRow(place["image_id"], outcome["status"], outcome["error"], source, place["rotation"])


def _image_rows(task: Task, downloads: Receipt) -> Iterator[dict[str, Any]]:
    path = task.storage.local(downloads.files[1].path)
    if downloads.pruned or not path.exists():
        raise PipelineError(
            f"extract: no images of {task.shard_name} at {path}, expected them. Run: biam-pipe download --dataset "
            f"{_dataset(task)}"
        )
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            for batch in file.iter_batches(task.settings.extract.batch_images):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise _mixed_up(task, str(error)) from error


def _mixed_up(task: Task, found: str) -> IntegrityError:
    return IntegrityError(
        f"extract: {task.shard_name} of {_dataset(task)} does not hold together: {found}; expected the same images in "
        f"index, downloads and images. Run: biam-pipe verify --dataset {_dataset(task)}"
    )


def _dataset(task: Task) -> str:
    return Path(task.root).name


def _features(task: Task, images: Iterator[ReadyImage], network: "Network", tally: _Tally) -> Iterator[FeatureBatch]:
    """Rows with their maps, in order; each batch but the last holds as many good images as the network takes."""
    waiting: list[ReadyImage] = []
    room = network.batch_images
    while (image := _next(images, tally)) is not None:
        waiting.append(image)
        room -= image.pixels is not None
        if not room:
            yield _batch(waiting, network, tally, task)
            waiting, room = [], network.batch_images
    if waiting:
        yield _batch(waiting, network, tally, task)


def _next(images: Iterator[ReadyImage], tally: _Tally) -> ReadyImage | None:
    started = time.perf_counter()
    image = next(images, None)
    tally.seconds_wait += time.perf_counter() - started
    return image


def _batch(images: Sequence[ReadyImage], network: "Network", tally: _Tally, task: Task) -> FeatureBatch:
    """The rows of these images; one whose maps hold NaN or infinity becomes a failed row."""
    if (why := stopping.reason(task.deadline)) is not None:
        raise why
    pixels = [image.pixels for image in images if image.pixels is not None]
    good = np.array([image.pixels is not None for image in images])
    maps = {one.column: np.zeros((len(images), *one.shape), dtype_of(one)) for one in network.maps}
    if pixels:
        started = time.perf_counter()
        found = network.run(np.stack(pixels), task.settings.threads)
        tally.seconds_network += time.perf_counter() - started
        for column, values in found.items():
            maps[column][good] = values
    outcomes = [(image.status, image.error) for image in images]
    for row, error in _non_finite(maps).items():
        outcomes[row] = (ImageStatus.NON_FINITE, error)
    tally.counts.update(str(status) for status, _ in outcomes)
    statuses, errors = [str(status) for status, _ in outcomes], [error for _, error in outcomes]
    return FeatureBatch([image.image_id for image in images], statuses, errors, maps)


def _non_finite(maps: Mapping[str, NDArray[Any]]) -> dict[int, str]:
    """Rows that hold NaN or infinity, each with the first map in which it does."""
    found: dict[int, str] = {}
    for column, values in maps.items():
        for row in np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1)):
            found.setdefault(int(row), f"{column} holds NaN or infinity in {values.dtype.name}")
    return found
