"""An image as the network wants it, or the reason why there is none."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.images.decode import Orientation, decode, resize
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
    """Pixels [height, width, channel] of an image, None where its status is not `ok`."""

    image_id: str
    status: str
    error: str | None
    pixels: NDArray[np.uint8] | None


@dataclass(frozen=True)
class PixelOptions:
    """How bytes become pixels; `decode` and `resize` say what each means."""

    orientation: Orientation
    max_pixels: int
    size_px: int


def ready(row: ImageRow, options: PixelOptions) -> ReadyImage:
    """The image, read, decoded and resized. A failure is its status, never an exception."""
    if row.status != ImageStatus.OK:
        return ReadyImage(row.image_id, row.status, row.error, None)
    try:
        image = decode(row.source.read(), options.orientation, row.rotation, options.max_pixels)
    except ImageProblem as problem:
        return ReadyImage(row.image_id, problem.status, str(problem), None)
    return ReadyImage(row.image_id, ImageStatus.OK, None, resize(image, options.size_px))
