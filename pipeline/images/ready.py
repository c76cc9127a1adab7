"""An image as the network wants it, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.images.decode import Orientation, decode, resize
from pipeline.images.on_device import decode_on_device, suits_device
from pipeline.images.problem import ImageProblem
from pipeline.images.source import ImageSource
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
    source: ImageSource
    rotation: int | None


@dataclass(frozen=True)
class ReadyImage:
    """Pixels [height, width, channel] of an image, None where its status is not `ok`.

    Attributes:
        jpeg: bytes in the place of pixels, which `finish` makes of them.
    """

    image_id: str
    status: str
    error: str | None
    pixels: NDArray[np.uint8] | None
    jpeg: bytes | None = None


@dataclass(frozen=True)
class PixelOptions:
    """How bytes become pixels; `decode` and `resize` say what each means.

    Attributes:
        jpeg_device: where ordinary JPEGs are decoded, as `decode_on_device` does it; None: Pillow decodes all.
    """

    orientation: Orientation
    max_pixels: int
    size_px: int
    jpeg_device: str | None = None


def ready(row: ImageRow, options: PixelOptions) -> ReadyImage:
    """The image, read, decoded and resized. A failure is its status, never an exception."""
    return finish([begin(row, options)], options)[0]


def begin(row: ImageRow, options: PixelOptions) -> ReadyImage:
    """The image as `ready` gives it, but a JPEG that is for the device still as bytes."""
    if row.status != ImageStatus.OK:
        return ReadyImage(row.image_id, row.status, row.error, None)
    try:
        data = row.source.read()
        if options.jpeg_device and suits_device(data, options.orientation, row.rotation, options.max_pixels):
            return ReadyImage(row.image_id, ImageStatus.OK, None, None, data)
        return _by_pillow(row.image_id, data, row.rotation, options)
    except ImageProblem as problem:
        return ReadyImage(row.image_id, problem.status, str(problem), None)


def finish(images: Sequence[ReadyImage], options: PixelOptions) -> list[ReadyImage]:
    """The same images; those that are still bytes are decoded together, and by Pillow where the device refuses one.

    Raises:
        PipelineError: the device decodes nothing.
    """
    waiting = [image.jpeg for image in images if image.jpeg is not None]
    if not waiting:
        return list(images)
    assert options.jpeg_device is not None, "they wait for a device"
    found = iter(decode_on_device(waiting, options.size_px, options.jpeg_device))
    return [image if image.jpeg is None else _finished(image, image.jpeg, next(found), options) for image in images]


def _finished(image: ReadyImage, jpeg: bytes, pixels: NDArray[np.uint8] | None, options: PixelOptions) -> ReadyImage:
    if pixels is not None:
        return ReadyImage(image.image_id, image.status, None, pixels)
    return _by_pillow(image.image_id, jpeg, None, options)


def _by_pillow(image_id: str, data: bytes, rotation: int | None, options: PixelOptions) -> ReadyImage:
    try:
        image = decode(data, options.orientation, rotation, options.max_pixels)
    except ImageProblem as problem:
        return ReadyImage(image_id, problem.status, str(problem), None)
    return ReadyImage(image_id, ImageStatus.OK, None, resize(image, options.size_px))
