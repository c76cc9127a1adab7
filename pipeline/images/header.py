"""Looks at the header of an image file: which format, how large. No pixel is decoded, so a bomb costs nothing."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from threading import Lock

from PIL import Image, TiffImagePlugin

from pipeline.files.damages import DAMAGES
from pipeline.images.jpeg import ordinary_size
from pipeline.images.metadata import bare, orientation
from pipeline.images.problem import ImageProblem
from schemas.status import ImageStatus

# What cameras, browsers and the odd archive write; JPEG includes MPO. Pillow reads more, but some of it starts programs
# (EPS runs Ghostscript) and the rest nobody publishes photographs in: less code for hostile bytes to reach.
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "AVIF",
    "JPEG2000",
    "PPM",
    "QOI",
    "DIB",
    "ICO",
    "CUR",
    "TGA",
)


@dataclass(frozen=True)
class Header:
    """What the header announces, before any rotation.

    Attributes:
        format: Pillow's name of it, for example "JPEG".
        width: in pixels.
        height: in pixels.
    """

    format: str
    width: int
    height: int


@dataclass(frozen=True)
class Opened:
    """An image file whose pixels are not decoded yet.

    Attributes:
        image: at its first frame, without metadata where the format allows to leave it out.
        data: what `image` reads.
        orientation: how the picture was stored, 1 (upright) to 8, as in EXIF.
        several_pictures: whether more pictures stand behind this one in the file.
    """

    image: Image.Image
    data: bytes
    orientation: int
    several_pictures: bool


def inspect(data: bytes, max_pixels: int) -> Header:
    """Format and size of an image file.

    Raises:
        ImageProblem: the bytes are `empty`, `not_an_image`, or announce `too_many_pixels`.
    """
    if (size := ordinary_size(data)) is not None:
        _refuse_bomb(*size, max_pixels)
        return Header("JPEG", *size)
    with opened(data, max_pixels) as file:
        return Header(file.image.format or "", file.image.width, file.image.height)


@contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[Opened]:
    """The image, its header checked and its pixels not decoded yet; Pillow's warnings are silenced.

    Raises:
        ImageProblem: the bytes are `empty`, `not_an_image`, or announce `too_many_pixels`.
    """
    if not data:
        raise ImageProblem(ImageStatus.EMPTY, "0 bytes")
    without = bare(data)
    with _quiet, _open(without.data) as image:
        _refuse_bomb(image.width, image.height, max_pixels)
        exif, xmp = (beside or _beside(image, key) for beside, key in ((without.exif, "exif"), (without.xmp, "xmp")))
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            exif = data  # its first directory is that of EXIF
            # Pillow would turn the picture then, and read other tags.
            image.load_end = partial(_as_stored, image)  # type: ignore[method-assign]
        yield Opened(image, without.data, orientation(exif, xmp), without.several_pictures)


def _beside(image: Image.Image, key: str) -> bytes:
    """Metadata as Pillow found them, where they lie in no part of the file that could be left out."""
    found = image.info.get(key)
    return found if isinstance(found, bytes) else b""


def _as_stored(image: Image.Image) -> None:
    """In place of what Pillow does after the pixels: until they are turned, their size is that of the file."""
    image._size = image.im.size


def _refuse_bomb(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageProblem(
            ImageStatus.TOO_MANY_PIXELS,
            f"{width} x {height} = {width * height} pixels, more than download.max_pixels = {max_pixels}",
        )


def reason(error: Exception) -> str:
    """What an exception of Pillow says, on one line, without the addresses of objects."""
    text = " ".join(str(error).split()).split(" <_io.")[0]
    return text or type(error).__name__


def _open(data: bytes) -> Image.Image:
    Image.init()  # once in a process; `open` would look for a format by name before it is known
    formats = [name for name in FORMATS if name in Image.OPEN]  # AVIF is a choice of whoever built Pillow
    try:
        image = Image.open(BytesIO(data), formats=formats)
    except Image.UnidentifiedImageError as error:
        raise ImageProblem(ImageStatus.NOT_AN_IMAGE, f"starts with {data[:8]!r}, no format that we read") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit; it looks before we can
        raise ImageProblem(ImageStatus.TOO_MANY_PIXELS, reason(error)) from error
    except DAMAGES as error:
        raise ImageProblem(ImageStatus.NOT_AN_IMAGE, f"broken header: {reason(error)}") from error
    if image.width < 1 or image.height < 1:
        raise ImageProblem(ImageStatus.NOT_AN_IMAGE, f"broken header: {image.width} x {image.height} pixels")
    return image


class _Quiet:
    """Silences warnings that Pillow's own code gives, from the first thread that enters to the last that leaves.

    `warnings.catch_warnings` alone would not do: two threads that overlap restore each other's filters.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_quiet = _Quiet()
