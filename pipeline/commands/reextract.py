"""Makes some images' features anew from the bytes that are stored, and compares: part of `verify`."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.graph import Graph, inputs_of
from pipeline.engine.plan import plan
from schemas.command import Command
from schemas.config import Config
from schemas.errors import PipelineError
from schemas.status import ImageStatus

if TYPE_CHECKING:
    from pipeline.batches.shards import FeatureShards
    from pipeline.images.ready import ImageRow, ReadyImage

# Largest difference, as a share of the map's largest number, that another machine may bring about: two steps of float16
# where the network computed in float32; what 11 and 8 bits a number add up to over some twenty layers otherwise.
TOLERANCE = {"fp32": 2**-9, "tf32": 2**-6, "fp16": 2**-6, "bf16": 2**-4}


@dataclass(frozen=True)
class Reextraction:
    """What a comparison came to.

    Attributes:
        images: made anew.
        equal: of those, with equal bits.
        largest_error: absolute, of all numbers of all maps.
        mean_error: likewise.
        tolerance: share of a map's largest number that a difference may reach.
        problems: one text for each image beyond it, or that gave no features this time.
        note: why no image was made anew; None where some were.
    """

    images: int
    equal: int
    largest_error: float
    mean_error: float
    tolerance: float
    problems: tuple[str, ...]
    note: str | None = None


def reextract(graph: Graph, config: Config, count: int, seed: int) -> Reextraction:
    """Make random images of the data set anew, with the settings that their features were made with.

    Args:
        count: how many, at most.

    Raises:
        PipelineError: there are no features of these settings.
        IntegrityError: a shard is not what its receipt says.
    """
    from pipeline.batches.shards import open_features

    plan(graph)
    node, tolerance = graph["extract"], TOLERANCE[config.extract.precision]
    if not any(shard is not None for shard in node.valid):
        raise PipelineError(
            f"verify --reextract: no features of these settings in {node.ledger.storage.shown(node.folder)}",
            expected="at least one shard",
            run=Command("extract", dataset=config.dataset.name),
        )
    left = {name: graph[name].receipts() for name in ("index", "download", "extract")}
    features = open_features(inputs_of(graph, "verify --reextract", left))
    if features.spec.origin is not None:
        note = f"these features were not made here, and there are no images to make them from: {features.spec.origin}"
        return Reextraction(0, 0, 0.0, 0.0, tolerance, (), note)
    chosen = _draw(graph, features, count, seed)
    if not chosen:
        note = (
            "no image has stored bytes to make features from: they were dropped after use (images.keep = false), or "
            f"every image failed. To fetch them again: biam-pipe download --dataset {config.dataset.name} "
            "--set images.keep=true"
        )
        return Reextraction(0, 0, 0.0, 0.0, tolerance, (), note)
    return _compared(list(_errors(config, features, chosen)), tolerance)


def _draw(graph: Graph, features: "FeatureShards", count: int, seed: int) -> dict[int, NDArray[np.int64]]:
    """Rows by position of their shard, drawn from the good rows of all shards whose image bytes are there."""
    extracted, downloaded = graph["extract"].valid, graph["download"].valid
    good = np.array(
        [
            0 if any(file.pruned for file in downloaded[number].files) else extracted[number].counts.get("ok", 0)
            for number in features.numbers
        ]
    )
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(good.sum(), min(count, good.sum()), replace=False)) if good.sum() else np.zeros(0, int)
    ends = np.cumsum(good)
    chosen = {}
    for position in np.unique(np.searchsorted(ends, drawn, side="right")).tolist():
        first = int(ends[position] - good[position])
        inside = drawn[(drawn >= first) & (drawn < ends[position])] - first
        good_rows = np.flatnonzero(np.array(features.rows(position).statuses) == ImageStatus.OK)
        chosen[position] = good_rows[inside]
    return chosen


@dataclass(frozen=True)
class _Error:
    """How one image differs.

    Attributes:
        largest: absolute difference.
        total: sum of the absolute differences of so many numbers.
        share: the largest difference as a share of its map's largest number.
        failed: why it gave no features this time.
    """

    image_id: str
    largest: float = 0.0
    total: float = 0.0
    numbers: int = 0
    share: float = 0.0
    equal: bool = False
    failed: str | None = None


def _errors(config: Config, features: "FeatureShards", chosen: dict[int, NDArray[np.int64]]) -> Iterator[_Error]:
    from pipeline.backbones.network import network
    from pipeline.images.ready import PixelOptions
    from pipeline.inference.mapping import mapped

    extract = config.extract
    loaded = network(config.backbone, extract, config.engine.threads)
    pixels = PixelOptions.of(extract, config.download.max_pixels, loaded.fit)
    places = ((position, row) for position, rows in chosen.items() for row in rows)
    image_rows = _image_rows(features, chosen)
    with mapped(image_rows, loaded, pixels, extract.decode_threads) as batches:
        for place, (image, made) in zip(places, chain.from_iterable(batches), strict=True):
            position, row = (np.array([number], np.int32) for number in place)
            yield _error(image, features.read(position, row, features.spec.maps), made)


def _image_rows(features: "FeatureShards", chosen: dict[int, NDArray[np.int64]]) -> Iterator["ImageRow"]:
    """The chosen images as the stages before extraction left them."""
    from pipeline.images.rows import image_rows

    for position, rows in chosen.items():
        wanted = set(rows.tolist())
        images = image_rows(features.inputs, features.numbers[position])
        yield from (image for row, image in enumerate(images) if row in wanted)


def _error(image: "ReadyImage", stored: dict[str, NDArray[Any]], made: dict[str, NDArray[Any]]) -> _Error:
    if image.status != ImageStatus.OK:
        return _Error(image.image_id, failed=f"{image.status}: {image.error}")
    largest = total = share = 0.0
    numbers = 0
    for column, before in stored.items():
        difference = np.abs(before.astype(np.float64) - made[column].astype(np.float64))
        largest = max(largest, float(difference.max()))
        share = max(share, float(difference.max() / max(np.abs(before).max(), np.finfo(before.dtype).tiny)))
        total, numbers = total + float(difference.sum()), numbers + difference.size
    equal = all(before.tobytes() == made[column].astype(before.dtype).tobytes() for column, before in stored.items())
    return _Error(image.image_id, largest, total, numbers, share, equal)


def _compared(errors: list[_Error], tolerance: float) -> Reextraction:
    problems = [
        f"{one.image_id}: {one.failed}, was ok"
        if one.failed
        else f"{one.image_id}: differs by {one.share:.2g} of a map's largest number, tolerated {tolerance:.2g}"
        for one in errors
        if one.failed or not one.share <= tolerance
    ]
    return Reextraction(
        images=len(errors),
        equal=sum(one.equal for one in errors),
        largest_error=max(one.largest for one in errors),
        mean_error=sum(one.total for one in errors) / max(sum(one.numbers for one in errors), 1),
        tolerance=tolerance,
        problems=tuple(problems),
    )
