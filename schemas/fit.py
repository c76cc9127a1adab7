"""How an image of any size becomes as large as a network takes it: what images and backbones both have to know."""

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["bilinear", "bicubic"]
Resizer = Literal["pillow", "torch"]


@dataclass(frozen=True)
class Fit:
    """A size, and what an image is brought to it by.

    Attributes:
        size_px: height and width of what comes out.
        interpolation: the filter, always with antialias.
        cover_px: height and width that an image is made to cover, with its proportions kept, before the middle of that
            size is cut out. None: the whole image is squeezed.
    """

    size_px: tuple[int, int]
    interpolation: Interpolation = "bilinear"
    cover_px: tuple[int, int] | None = None

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is seen of an image, in its own pixels.

        Source: torchvision, `Resize` of the shorter side and `CenterCrop`, with their rounding.
        """
        if self.cover_px is None:
            return 0.0, 0.0, float(width), float(height)
        cover_height, cover_width = self.cover_px
        if height * cover_width <= width * cover_height:
            whole_width, whole_height = cover_height * width // height, cover_height
        else:
            whole_width, whole_height = cover_width, cover_width * height // width
        left, right = _middle(width, whole_width, self.size_px[1])
        top, bottom = _middle(height, whole_height, self.size_px[0])
        return left, top, right, bottom

    def whole_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The same, at whole pixels, one at least."""
        left, top, right, bottom = map(round, self.box(width, height))
        return left, top, max(right, left + 1), max(bottom, top + 1)


def _middle(length: int, whole: int, cut: int) -> tuple[float, float]:
    """Where the middle `cut` pixels of an axis that is resized to `whole` begin and end before that."""
    begin = round((whole - cut) / 2)
    return begin * length / whole, min((begin + cut) * length / whole, float(length))
