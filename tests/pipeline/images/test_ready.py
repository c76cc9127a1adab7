"""From a row to pixels: every failure is a status of that row."""

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.local import VanishedFileError
from pipeline.images.ready import ImageRow, PixelOptions, ready
from pipeline.images.resize import resize
from pipeline.images.source import ImageSource
from schemas.config import ExtractConfig
from schemas.errors import IntegrityError
from schemas.fit import Fit
from schemas.status import ImageStatus

OPTIONS = PixelOptions("exif", 100_000, Fit((16, 16)))


def jpeg() -> bytes:
    buffer = BytesIO()
    Image.radial_gradient("L").save(buffer, "JPEG")
    return buffer.getvalue()


def noise() -> bytes:
    """A PNG in which resizers differ."""
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 60, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def row(source: ImageSource, status: str = ImageStatus.OK, error: str | None = None) -> ImageRow:
    return ImageRow("a.jpg", status, error, source, None)


def on_disk(path: Path, data: bytes) -> ImageSource:
    """A file that was checked when it held these bytes."""
    path.write_bytes(data)
    return ImageSource(None, str(path), len(data), hashlib.sha256(data).hexdigest())


def test_bytes_in_memory_and_in_a_file_give_equal_pixels(tmp_path: Path) -> None:
    from_memory = ready(row(ImageSource(jpeg())), OPTIONS)
    from_file = ready(row(on_disk(tmp_path / "a.jpg", jpeg())), OPTIONS)

    assert from_memory.status == from_file.status == ImageStatus.OK
    assert from_memory.pixels is not None
    assert from_memory.pixels.shape == (16, 16, 3)
    assert (from_memory.pixels == from_file.pixels).all()


def test_settings_say_what_resizes() -> None:
    fit = Fit((24, 16))
    for name in ("pillow", "torch"):
        options = PixelOptions.of(ExtractConfig(resize=name), 100_000, fit)
        found = ready(row(ImageSource(noise())), options).pixels
        assert found is not None
        assert np.array_equal(found, resize(Image.open(BytesIO(noise())), fit, name))


def test_an_image_that_failed_before_keeps_its_status_and_error() -> None:
    found = ready(row(ImageSource(None), ImageStatus.NOT_FOUND, "404"), OPTIONS)

    assert (found.status, found.error, found.pixels) == (ImageStatus.NOT_FOUND, "404", None)


@pytest.mark.parametrize("change", [b"longer than before", b""])
def test_a_file_of_another_size_than_when_it_was_checked_is_unreadable(tmp_path: Path, change: bytes) -> None:
    source = on_disk(tmp_path / "a.jpg", jpeg())
    (tmp_path / "a.jpg").write_bytes(change)

    found = ready(row(source), OPTIONS)

    assert found.status == ImageStatus.UNREADABLE_FILE
    assert found.error == (
        f"the file has changed since it was checked: {len(change)} bytes, was {len(jpeg())}. Run: biam-pipe run"
    )


def test_a_file_of_equal_size_with_other_bytes_is_unreadable(tmp_path: Path) -> None:
    source = on_disk(tmp_path / "a.jpg", jpeg())
    (tmp_path / "a.jpg").write_bytes(jpeg()[:-1] + b"x")

    found = ready(row(source), OPTIONS)

    assert found.status == ImageStatus.UNREADABLE_FILE
    assert "sha256" in str(found.error)


@pytest.mark.parametrize("below", ["", "/b.jpg"])
def test_a_file_that_was_checked_and_is_gone_is_an_error_and_no_status(below: str, tmp_path: Path) -> None:
    there = on_disk(tmp_path / "a.jpg", jpeg())
    source = ImageSource(None, f"{there.path}{below}", there.size_bytes, there.sha256)
    if not below:
        (tmp_path / "a.jpg").unlink()

    with pytest.raises(VanishedFileError, match=r"a\.jpg.* is gone: it was there when .* bring it back"):
        ready(row(source), OPTIONS)


def test_a_disk_that_fails_at_a_file_makes_it_unreadable(tmp_path: Path) -> None:
    source = on_disk(tmp_path / "a.jpg", jpeg())
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.jpg").symlink_to("a.jpg")

    found = ready(row(source), OPTIONS)

    assert (found.status, found.error) == (ImageStatus.UNREADABLE_FILE, "too many levels of symbolic links")


def test_broken_pixels_are_a_decode_error() -> None:
    found = ready(row(ImageSource(jpeg()[:-200])), OPTIONS)

    assert found.status == ImageStatus.DECODE_ERROR
    assert "truncated" in str(found.error)


def test_stored_bytes_that_are_not_those_checked_are_damage_and_no_status() -> None:
    data = bytearray(jpeg())
    checked = hashlib.sha256(data).hexdigest()
    data[40] ^= 1
    with pytest.raises(IntegrityError, match=r"in the images shard has sha256 .* Run: biam-pipe verify"):
        ready(row(ImageSource(bytes(data), sha256=checked)), OPTIONS)
