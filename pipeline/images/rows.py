"""The images of a shard as the stages before left them, row by row in index order."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.files.inputs import Inputs, OutputFile, shard_name
from pipeline.images.ready import ImageRow
from pipeline.images.source import ImageSource
from schemas.command import Command
from schemas.errors import IntegrityError
from schemas.status import ImageStatus
from schemas.tables import DOWNLOADS, IMAGES, LOCAL_SOURCE

_ROWS_AT_ONCE = 16  # image bytes are read so many at a time


def download_outputs() -> dict[str, OutputFile]:
    """By name, what the stage `download` leaves of each shard: what became of the images, and their bytes."""
    return {
        "downloads": OutputFile("{folder}/{shard}.parquet", DOWNLOADS, {"status": ImageStatus}),
        "images": OutputFile("images/{shard}.parquet", IMAGES),
    }


def address(locations: Iterable[Mapping[str, Any]] | None, source: str) -> str | None:
    """The best address of an image that is of this source; None where there is none."""
    return next((place["address"] for place in locations or () if place["source"] == source), None)


def image_rows(inputs: Inputs, shard: int, *, only_labelled: bool = False) -> Iterator[ImageRow]:
    """The rows of a shard, from what `index` and `download` left of it; a few are in memory at a time.

    Args:
        only_labelled: images that nobody labelled are `unlabelled`, whatever became of them.

    Raises:
        PipelineError: the image bytes are not there.
        IntegrityError: the shards do not hold the same images, or one is damaged.
    """
    places = inputs.table("index", "index", shard, ["image_id", "locations", "rotation"])
    outcomes = inputs.table("download", "downloads", shard)
    if places.num_rows != outcomes.num_rows:
        raise _mixed_up(inputs, shard, f"{places.num_rows} rows in the index, {outcomes.num_rows} in downloads")
    images, stored = _bodies(inputs, shard), inputs.sized("download", "images", shard)
    left_out = _unlabelled(inputs, shard) if only_labelled else frozenset()
    for number, (place, outcome) in enumerate(zip(places.to_pylist(), outcomes.to_pylist(), strict=True)):
        image_id, data = next(images, (None, None))
        if not place["image_id"] == outcome["image_id"] == image_id:
            found = f"row {number} is {place['image_id']!r} in the index, {image_id!r} in images"
            raise _mixed_up(inputs, shard, found)
        path = address(place["locations"], LOCAL_SOURCE)
        if outcome["status"] == ImageStatus.OK and data is None and path is None:
            raise _mixed_up(inputs, shard, f"{place['image_id']!r} is ok, but its bytes are not there")
        named = f"image {image_id!r} in {stored}"
        source = ImageSource(data, path, outcome["size_bytes"], outcome["sha256"], named)
        status, error = outcome["status"], outcome["error"]
        if number in left_out and status != ImageStatus.REMOVED:
            status, error = ImageStatus.UNLABELLED, None
        yield ImageRow(place["image_id"], status, error, source, place["rotation"])


def _unlabelled(inputs: Inputs, shard: int) -> frozenset[int]:
    """Rows of the images that nobody labelled."""
    without = inputs.table("index", "annotations", shard, ["positive"])["positive"].is_null()
    return frozenset(np.flatnonzero(without.to_numpy()).tolist())


def _bodies(inputs: Inputs, shard: int) -> Iterator[tuple[str, bytes | None]]:
    for batch in inputs.batches("download", "images", shard, _ROWS_AT_ONCE):
        ids, bodies = (batch.column(name).to_pylist() for name in ("image_id", "data"))
        yield from zip(ids, bodies, strict=True)


def _mixed_up(inputs: Inputs, shard: int, found: str) -> IntegrityError:
    return IntegrityError(
        f"{shard_name(shard)} of {inputs.dataset} does not hold together: {found};",
        expected="the same images in index, downloads and images",
        run=Command("verify", dataset=inputs.dataset),
    )
