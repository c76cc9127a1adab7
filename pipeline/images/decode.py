"""Bytes of an image file to RGB pixels, and RGB pixels to the backbone's input size. Pillow does both."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from pipeline.images.header import PILLOW_ERRORS, opened, reason
from pipeline.images.problem import ImageProblem
from schemas.status import ImageStatus

# For the feature spec: whoever changes how pixels come about changes these, and with them every recipe.
DECODER = "pillow"
INTERPOLATION = "bilinear"
ANTIALIAS = True  # Pillow widens its filter by the scale when it shrinks; tensors of torch do so only on request

_BLOCK_BYTES = 1 << 24

Orientation = Literal["exif", "dataset", "none"]


def decode(data: bytes, orientation: Orientation, rotation: int | None, max_pixels: int) -> Image.Image:
    """The first frame of an image file in RGB, turned upright; equal to Pillow's `convert("RGB")`.

    Transparency is dropped, not blended. A TIFF is turned by its own orientation tag whatever `orientation` says:
    Pillow's reader does it.

    Args:
        orientation: `exif` follows the file's tag, `dataset` turns by `rotation`, `none` leaves the pixels as stored.
        rotation: degrees counter-clockwise; None is 0.
        max_pixels: more than that in the header, and nothing is decoded.

    Raises:
        ImageProblem: as `inspect` raises, or `decode_error` where the pixels are broken or cut off.
    """
    with opened(data, max_pixels) as image:
        try:
            _load(image)
            upright = _upright(image, orientation, rotation)
            rgb = upright if upright.mode == "RGB" else upright.convert("RGB")  # converting would copy: 0.4 ms
        except PILLOW_ERRORS as error:
            raise ImageProblem(ImageStatus.DECODE_ERROR, reason(error)) from error
        except Image.DecompressionBombError as error:  # a frame or a tile larger than the header said
            raise ImageProblem(ImageStatus.TOO_MANY_PIXELS, reason(error)) from error
    if rgb.width < 1 or rgb.height < 1:
        raise ImageProblem(ImageStatus.DECODE_ERROR, f"decoded to {rgb.width} x {rgb.height} pixels")
    return rgb


def resize(image: Image.Image, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """The whole picture, its proportions not kept, as [height, width, channel] of that height and width."""
    height, width = size_px
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _load(image: Image.Image) -> None:
    """Decode in one piece: handing over 64 kB at a time costs a photograph 6 %."""
    if isinstance(image, ImageFile.ImageFile):
        image.decodermaxblock = _BLOCK_BYTES
    image.load()


def _upright(image: Image.Image, orientation: Orientation, rotation: int | None) -> Image.Image:
    if orientation == "exif":
        ImageOps.exif_transpose(image, in_place=True)  # a copy, where the image stands upright already, takes 0.4 ms
        return image
    if orientation == "dataset" and rotation:
        return image.rotate(rotation, expand=True)
    return image
