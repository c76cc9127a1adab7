"""Bytes of an image file to RGB pixels, by Pillow."""

from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from pipeline.files.damages import DAMAGES
from pipeline.images.header import Opened, opened, reason
from pipeline.images.jpeg import has_all_scans
from pipeline.images.problem import ImageProblem
from schemas.status import ImageStatus

DECODER = "pillow"  # for the feature spec: whoever changes how pixels come about changes it, and with it every recipe

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"

_BLOCK_BYTES = 1 << 24
_FILLING = b"\xaa\x55" * 32
_WHITE = 0xFFFF
_WHITE_IS_ZERO = 0
_SCALED_BY_READER = ("PNG", "PPM")  # to 16 bits
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Orientation = Literal["exif", "dataset", "none"]


def decode(data: bytes, orientation: Orientation, rotation: int | None, max_pixels: int) -> Image.Image:
    """The first frame of an image file in RGB, turned upright; equal to Pillow's `convert("RGB")` where 8 bits hold it.

    Grey of 16 bits is scaled to 8. Transparency is dropped, not blended. A JPEG may lack its end marker. Of all
    metadata the orientation alone counts; a TIFF is turned by its own whatever `orientation` says.

    Args:
        orientation: `exif` follows the file's tag, `dataset` turns by `rotation`, `none` leaves the pixels as stored.
        rotation: degrees counter-clockwise; None is 0.
        max_pixels: more than that in the header, and nothing is decoded.

    Raises:
        ImageProblem: as `inspect` raises; `unknown_range` where nobody knows which pixel is white; `decode_error` where
            the pixels are broken or cut off.
    """
    with opened(data, max_pixels) as file:
        try:
            white = _white(file.image)
            image = _loaded(file)
            rgb = image if image.mode == "RGB" else _converted(image, white)  # converting would copy: 0.4 ms
            upright = _upright(rgb, file, orientation, rotation)
        except DAMAGES as error:
            raise ImageProblem(ImageStatus.DECODE_ERROR, reason(error)) from error
        except Image.DecompressionBombError as error:  # a frame or a tile larger than the header said
            raise ImageProblem(ImageStatus.TOO_MANY_PIXELS, reason(error)) from error
    if upright.width < 1 or upright.height < 1:
        raise ImageProblem(ImageStatus.DECODE_ERROR, f"decoded to {upright.width} x {upright.height} pixels")
    return upright


def has_deep_pixels(data: bytes, max_pixels: int) -> bool:
    """Whether pixels have more than 8 bits, by the header; no pixel is decoded.

    Raises:
        ImageProblem: as `inspect` raises.
    """
    if data.startswith(JPEG_START):
        return False
    with opened(data, max_pixels) as file:
        return _is_deep(file.image)


def _loaded(file: Opened) -> Image.Image:
    """The image with its pixels; a JPEG that lacks nothing but its end is whole.

    Raises:
        OSError: as Pillow raises, such as of a file that is cut off.
    """
    try:
        _load(file.image)
    except OSError:
        whole = _without_end(file.data) if file.image.format == "JPEG" else None
        if whole is None:
            raise
        return whole
    return file.image


def _without_end(data: bytes) -> Image.Image | None:
    """The image of a JPEG that ends behind its last pixel, without an end marker; None where more is missing.

    Where pixels are missing, a decoder makes them of whatever follows: with two things behind the file they differ.
    """
    if not has_all_scans(data):
        return None
    ended = []
    for filling in (b"", _FILLING):
        image = Image.open(BytesIO(data.rstrip(b"\xff") + filling + JPEG_END), formats=("JPEG",))
        _load(image)
        ended.append(image)
    return ended[0] if ended[0].tobytes() == ended[1].tobytes() else None


def _load(image: Image.Image) -> None:
    """Decode in one piece: handing over 64 kB at a time costs a photograph 6 %."""
    if isinstance(image, ImageFile.ImageFile):
        image.decodermaxblock = _BLOCK_BYTES
    image.load()


def _white(image: Image.Image) -> int | None:
    """The number that means white in pixels of more than 8 bits; negative where it means black; None for 8 bits.

    Raises:
        ImageProblem: nobody knows it.
    """
    if not _is_deep(image):
        return None
    if image.mode == "I" and image.format in _SCALED_BY_READER:
        return _WHITE
    if not image.mode.startswith("I;16"):
        kind = "fractions" if image.mode == "F" else "numbers of 32 bits, or signed"
        raise ImageProblem(ImageStatus.UNKNOWN_RANGE, f"pixels are {kind}: nobody knows which one is white")
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return _WHITE
    white = (1 << image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]) - 1
    return -white if image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO else white


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _converted(image: Image.Image, white: int | None) -> Image.Image:
    """In RGB."""
    if white is None:
        return image.convert("RGB")
    values = np.asarray(image).astype(np.int64).clip(0, abs(white))
    scaled = (values * 255 + abs(white) // 2) // abs(white)
    return Image.fromarray((scaled if white > 0 else 255 - scaled).astype(np.uint8)).convert("RGB")


def _upright(image: Image.Image, file: Opened, orientation: Orientation, rotation: int | None) -> Image.Image:
    if orientation == "exif" or isinstance(file.image, TiffImagePlugin.TiffImageFile):
        turn = _TURNS.get(file.orientation)
        image = image if turn is None else image.transpose(turn)
    if orientation == "dataset" and rotation:
        return image.rotate(rotation, expand=True)
    return image
