"""Pictures of test images at the size in which a page shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32
from PIL import Image

from pipeline.reporting.pictures import data_uri, overlay, shrink

_OPACITY = 0.5  # of response maps
_LEGEND_PX, _GREY = (240, 12), 128


@dataclass(frozen=True)
class Picture:
    """An image as a page shows it.

    Attributes:
        image: None where it cannot be shown.
        problem: why there is none.
    """

    image: Image.Image | None
    problem: str | None

    @cached_property
    def uri(self) -> str:
        """The picture as a `data:` address."""
        assert self.image is not None, "whoever shows a picture has looked whether there is one"
        return data_uri(self.image)


def gallery(pictures: Mapping[str, Image.Image | str], side_px: int) -> dict[str, Picture]:
    """Pictures by id, their longer side at most that long."""
    return {
        image_id: Picture(None, found) if isinstance(found, str) else Picture(shrink(found, side_px), None)
        for image_id, found in pictures.items()
    }


def overlaid(picture: Picture, response: Float32[np.ndarray, "height width"]) -> str:
    """A picture with a response map over it, as a `data:` address."""
    assert picture.image is not None, "whoever shows a map has looked whether there is a picture"
    return data_uri(overlay(picture.image, response, _OPACITY))


def legend() -> str:
    """The colours of response maps over grey, the weakest on the left, as a `data:` address."""
    ramp = np.linspace(0.0, 1.0, _LEGEND_PX[0], dtype=np.float32)[None]
    return data_uri(overlay(Image.new("L", _LEGEND_PX, _GREY), ramp, _OPACITY))
