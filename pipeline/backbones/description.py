"""What a backbone says of itself once its settings are known. Needs no torch."""

from dataclasses import dataclass

from pipeline.backbones.weights import Published
from schemas.features import MapSpec

Channels = tuple[float, float, float]

PIXEL_MAX = 255.0


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from pixels and what they are divided by: (pixel / pixel_scale - mean) / std.

    Attributes:
        mean: per channel (red, green, blue), as std.
        pixel_scale: by which pixels of 0 to 255 are divided first.
    """

    mean: Channels
    std: Channels
    pixel_scale: float = PIXEL_MAX


# Source: torchvision, transforms of the weights `IMAGENET1K_V1`.
IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Description:
    """What goes in and what comes out.

    Attributes:
        maps: that it gives, in the order of `backbone.layers`, or its usual ones. The first region map and the first
            global one are those that a model of one of each reads.
        resize: height and width, in pixels, to which the whole image is squeezed.
        normalisation: of the pixels.
        published: weights that anyone can fetch, or None.
    """

    maps: tuple[MapSpec, ...]
    resize: tuple[int, int]
    normalisation: Normalisation
    published: Published | None

    def recipe(self, input_px: int) -> dict[str, float | list[int]]:
        """What is not as with most backbones: squares of `input_px`, and pixels divided by 255."""
        found: dict[str, float | list[int]] = {}
        if self.resize != (input_px, input_px):
            found["backbone.resize"] = [*self.resize]
        if self.normalisation.pixel_scale != PIXEL_MAX:
            found["backbone.pixel_scale"] = self.normalisation.pixel_scale
        return found
