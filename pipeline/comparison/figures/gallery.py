"""Pictures of test images at the size in which a page shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from pipeline.reporting.pictures import data_uri, shrink


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
