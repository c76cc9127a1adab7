"""Looking at headers: what is told apart, and that nothing of Pillow's noise gets out."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image

from pipeline.images.header import Header, inspect
from pipeline.images.problem import ImageProblem
from schemas.status import ImageStatus

LIMIT = 10_000


def encoded(width: int, height: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    buffer = BytesIO()
    Image.new(mode, (width, height)).save(buffer, kind)
    return buffer.getvalue()


def png_announcing(width: int, height: int) -> bytes:
    """A PNG file whose header promises that many pixels, and that holds next to none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_the_header_gives_format_and_size(kind: str) -> None:
    assert inspect(encoded(30, 20, kind), LIMIT) == Header(kind, 30, 20)


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"", ImageStatus.EMPTY, "0 bytes"),
        (b"<!DOCTYPE html><html>sorry</html>", ImageStatus.NOT_AN_IMAGE, "starts with b'<!DOCTYP'"),
        (encoded(30, 20, "JPEG")[:3], ImageStatus.NOT_AN_IMAGE, "xff"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ImageStatus.NOT_AN_IMAGE, "no format that we read"),
        (encoded(101, 100), ImageStatus.TOO_MANY_PIXELS, "101 x 100 = 10100 pixels, more than download.max_pixels"),
    ],
)
def test_what_is_no_usable_image_says_why(data: bytes, status: ImageStatus, text: str) -> None:
    with pytest.raises(ImageProblem, match=text) as caught:
        inspect(data, LIMIT)
    assert caught.value.status is status


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_bomb_is_told_from_its_header_below_and_above_pillows_own_limit(side: int) -> None:
    with pytest.raises(ImageProblem) as caught:
        inspect(png_announcing(side, side), LIMIT)
    assert caught.value.status is ImageStatus.TOO_MANY_PIXELS


def test_exactly_the_allowed_number_of_pixels_passes() -> None:
    assert inspect(encoded(100, 100), LIMIT).width == 100


def test_pillows_warnings_stay_inside_and_the_filters_are_as_before() -> None:
    before = list(warnings.filters)
    large = png_announcing(10_000, 10_000)  # Pillow warns above 89 million pixels

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: inspect(large, 200_000_000), range(200)))

    assert found == [Header("PNG", 10_000, 10_000)] * 200
    assert list(warnings.filters) == before
    with pytest.raises(Image.DecompressionBombWarning):  # warnings are errors in these tests: nothing was switched off
        Image.open(BytesIO(large))
