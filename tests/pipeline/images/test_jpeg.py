"""The quick look at a JPEG's header says what Pillow says, or nothing."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.images.jpeg import ordinary_size


def encoded(mode: str = "RGB", **options: Any) -> bytes:
    out = BytesIO()
    Image.new(mode, (33, 21)).save(out, options.pop("format", "JPEG"), **options)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        encoded(),
        encoded("L"),
        encoded("CMYK"),
        encoded(progressive=True),
        encoded(subsampling=0, optimize=True, comment="words", dpi=(72, 72), icc_profile=b"p" * 70_000),
        encoded(exif=Image.Exif().tobytes() or b"Exif\0\0"),
    ],
)
def test_an_ordinary_jpeg_has_the_size_that_pillow_reads(data: bytes) -> None:
    assert ordinary_size(data) == (33, 21)


@pytest.mark.parametrize("cut", [0, 2, 3, 20, 160])
def test_a_header_cut_short_is_left_to_pillow(cut: int) -> None:
    assert ordinary_size(encoded()[:cut]) is None


def test_what_is_not_ordinary_is_left_to_pillow() -> None:
    data = encoded()
    frame = data.index(b"\xff\xc0")
    for at, value in ((frame + 1, 0xC9), (frame + 4, 12), (frame + 9, 2), (frame + 3, 0), (2, 0)):
        assert ordinary_size(data[:at] + bytes([value]) + data[at + 1 :]) is None, at
    assert ordinary_size(encoded(format="PNG")) is None
    assert ordinary_size(encoded(format="MPO", save_all=True, append_images=[Image.new("RGB", (33, 21))])) is None


def test_real_files_have_the_size_that_pillow_reads(shared: Path) -> None:
    found = 0
    for path in [one for one in sorted((shared / "data").rglob("*")) if one.is_file()]:
        if (size := ordinary_size(path.read_bytes())) is not None and size[0] * size[1] < 100_000_000:
            with Image.open(path) as image:
                assert (image.size, image.format) == (size, "JPEG"), path
            found += 1
    assert found > 50
