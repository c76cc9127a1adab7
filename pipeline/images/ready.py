"""An image as the network wants it, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.decode import Orientation, decode
from pipeline.images.local import LocalFile
from pipeline.images.on_device import decode_on_device, suits_device
from pipeline.images.problem import ImageProblem
from pipeline.images.resize import resize
from pipeline.images.source import ImageSource
from schemas.config import ExtractConfig
from schemas.fit import Fit, Resizer
from schemas.status import ImageStatus


@dataclass(frozen=True)
class ImageRow:
    """An image as the stages before left it; only one whose status is `ok` is looked at.

    Attributes:
        rotation: degrees counter-clockwise, None where the data set does not say.
    """

    image_id: str
    status: str
    error: str | None
    source: ImageSource | LocalFile
    rotation: int | None


@dataclass(frozen=True)
class ReadyImage:
    """Pixels [height, width, channel] of an image, None where its status is not `ok`.

    Attributes:
        jpeg: bytes in the place of pixels, which `finish` makes of them.
        picture: the whole image, upright, where the options keep it.
    """

    image_id: str
    status: str
    error: str | None
    pixels: NDArray[np.uint8] | None
    jpeg: bytes | None = None
    picture: Image.Image | None = None


@dataclass(frozen=True)
class PixelOptions:
    """How bytes become pixels; `decode` and `resize` say what each means.

    Attributes:
        fit: size of the pixels, and what brings an image to it.
        jpeg_device: where ordinary JPEGs are decoded, as `decode_on_device` does it; None: Pillow decodes all.
        resizer: what resizes the images that Pillow decodes.
        keep_picture: whether the whole image stays beside its pixels; Pillow decodes it, whatever decodes the pixels.
    """

    orientation: Orientation
    max_pixels: int
    fit: Fit
    jpeg_device: str | None = None
    resizer: Resizer = "pillow"
    keep_picture: bool = False

    @classmethod
    def of(cls, extract: ExtractConfig, max_pixels: int, fit: Fit, *, keep_picture: bool = False) -> "PixelOptions":
        """Those of settings."""
        return cls(extract.orientation, max_pixels, fit, extract.jpeg_device, extract.resize, keep_picture)


def ready(row: ImageRow, options: PixelOptions) -> ReadyImage:
    """The image, read, decoded and resized. A failure of the image is its status, never an exception.

    Raises:
        VanishedFileError: its file was checked and is gone.
        IntegrityError: its bytes are not those that were checked.
    """
    return finish([begin(row, options)], options)[0]


def begin(row: ImageRow, options: PixelOptions) -> ReadyImage:
    """The image as `ready` gives it, but a JPEG that is for the device still as bytes."""
    if row.status != ImageStatus.OK:
        return ReadyImage(row.image_id, row.status, row.error, None)
    try:
        data = row.source.read()
        how = options.orientation, row.rotation, options.max_pixels
        if not (options.jpeg_device and suits_device(data, *how)):
            return _by_pillow(row.image_id, data, row.rotation, options)
        picture = decode(data, *how) if options.keep_picture else None
    except ImageProblem as problem:
        return ReadyImage(row.image_id, problem.status, str(problem), None)
    return ReadyImage(row.image_id, ImageStatus.OK, None, None, data, picture)


def finish(images: Sequence[ReadyImage], options: PixelOptions) -> list[ReadyImage]:
    """The same images; those that are still bytes are decoded together, and by Pillow where the device refuses one.

    Raises:
        PipelineError: the device decodes nothing.
    """
    waiting = [image.jpeg for image in images if image.jpeg is not None]
    if not waiting:
        return list(images)
    assert options.jpeg_device is not None, "they wait for a device"
    found = iter(decode_on_device(waiting, options.fit, options.jpeg_device))
    return [image if image.jpeg is None else _finished(image, image.jpeg, next(found), options) for image in images]


def _finished(image: ReadyImage, jpeg: bytes, pixels: NDArray[np.uint8] | None, options: PixelOptions) -> ReadyImage:
    if pixels is not None:
        return replace(image, pixels=pixels, jpeg=None)
    return _by_pillow(image.image_id, jpeg, None, options)


def _by_pillow(image_id: str, data: bytes, rotation: int | None, options: PixelOptions) -> ReadyImage:
    try:
        picture = decode(data, options.orientation, rotation, options.max_pixels)
    except ImageProblem as problem:
        return ReadyImage(image_id, problem.status, str(problem), None)
    kept = picture if options.keep_picture else None
    return ReadyImage(image_id, ImageStatus.OK, None, resize(picture, options.fit, options.resizer), picture=kept)
