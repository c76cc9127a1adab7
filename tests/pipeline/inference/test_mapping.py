"""From rows to maps: in order, batch by batch, each image with its own maps or its own status."""

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.backbones.network import Network, network
from pipeline.images.local import LocalFile
from pipeline.images.ready import ImageRow, PixelOptions, ready
from pipeline.images.source import ImageSource
from pipeline.inference.mapping import Mapped, mapped
from schemas.config import BackboneConfig, ExtractConfig
from schemas.errors import TimeBudgetError
from schemas.fit import Fit

PIXELS = PixelOptions("exif", 100_000, Fit((32, 32)))
BATCH_IMAGES = 3


def tiny() -> Network:
    backbone = BackboneConfig(name="tiny", weights="random:0", input_px=32)
    return network(backbone, ExtractConfig(device="cpu", batch_images=BATCH_IMAGES), threads=2)


def encoded(colour: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def row(number: int, data: bytes) -> ImageRow:
    return ImageRow(str(number), "ok", None, ImageSource(data), None)


def rows(colours: Sequence[str | None]) -> list[ImageRow]:
    return [row(number, b"x" if colour is None else encoded(colour)) for number, colour in enumerate(colours)]


def batches_of(images: Sequence[ImageRow], **options: object) -> list[Mapped]:
    with mapped(images, tiny(), PIXELS, decode_threads=2, **options) as batches:
        return list(batches)


def test_every_image_comes_out_in_order_and_each_good_one_with_the_maps_that_it_has_alone() -> None:
    images = rows(["red", None, "navy", "green", "white", None, "black", "yellow"])

    batches = batches_of(images)
    found = [(image, maps) for batch in batches for image, maps in batch]

    assert [len(batch.images) for batch in batches] == [4, 4]
    assert [image.image_id for image, _ in found] == [image.image_id for image in images]
    for image, (made, maps) in zip(images, found, strict=True):
        expected = ready(image, PIXELS)
        assert (made.status, made.error) == (expected.status, expected.error)
        if expected.pixels is None:
            assert not any(values.any() for values in maps.values())
        else:
            alone = tiny().run([expected.pixels])
            assert all(np.array_equal(maps[column], values) for column, values in alone.items())


def test_a_batch_ends_after_four_times_its_rows_whatever_failed() -> None:
    lengths = [len(batch.images) for batch in batches_of(rows([None] * 14 + ["red"] * 4))]

    assert lengths == [12, 5, 1]


def test_images_decoded_in_processes_of_their_own_have_equal_maps() -> None:
    images = rows(["red", None, "navy"])

    (here,), (elsewhere,) = batches_of(images), batches_of(images, isolated=True)

    assert [image.status for image in here.images] == [image.status for image in elsewhere.images]
    assert all(np.array_equal(values, elsewhere.maps[column]) for column, values in here.maps.items())


def test_files_that_nobody_has_checked_have_the_maps_of_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(encoded("red"))
    files = [LocalFile(str(tmp_path / name), max_bytes=10_000) for name in ("red.png", "gone.png")]

    (batch,) = batches_of([ImageRow(file.path, "ok", None, file, None) for file in files])
    (expected,) = batches_of(rows(["red"]))

    assert [(image.status, image.error) for image in batch.images] == [("ok", None), ("missing_file", "no such file")]
    assert all(np.array_equal(values[:1], expected.maps[column]) for column, values in batch.maps.items())


def test_nothing_is_computed_after_the_time_budget() -> None:
    with pytest.raises(TimeBudgetError):
        batches_of(rows(["red"]), deadline=time.time() - 1)
