"""What a backbone says of itself once its settings are known. Needs no torch."""

from dataclasses import dataclass
from importlib.metadata import version
from math import floor
from typing import Any, get_args

from pipeline.backbones.weights import Published
from schemas.config import BackboneConfig
from schemas.features import MapSpec
from schemas.fit import Fit, Interpolation

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
        resize: height and width, in pixels, of what the network takes.
        normalisation: of the pixels.
        published: weights that anyone can fetch, or None.
        interpolation: by which images are resized.
        crop_fraction: with `backbone.fit = "crop"`, how much of an image's shorter side is seen.
        libraries: distributions that the network's code comes from, beside torchvision.
    """

    maps: tuple[MapSpec, ...]
    resize: tuple[int, int]
    normalisation: Normalisation
    published: Published | None
    interpolation: Interpolation = "bilinear"
    crop_fraction: float = 0.875
    libraries: tuple[str, ...] = ()

    def fit(self, config: BackboneConfig) -> Fit:
        """What brings an image to the network's size."""
        if config.fit == "squeeze":
            return Fit(self.resize, self.interpolation)
        height, width = (floor(side / self.crop_fraction) for side in self.resize)
        return Fit(self.resize, self.interpolation, (height, width))

    def recipe(self, config: BackboneConfig) -> dict[str, Any]:
        """What is not as with most backbones: squares of `input_px`, squeezed, pixels divided by 255, code of ours."""
        found: dict[str, Any] = {}
        if self.libraries:
            found["backbone.libraries"] = {name: version(name) for name in self.libraries}
        if self.resize != (config.input_px, config.input_px):
            found["backbone.resize"] = [*self.resize]
        if (cover := self.fit(config).cover_px) is not None:
            found["backbone.cover"] = [*cover]
        if self.normalisation.pixel_scale != PIXEL_MAX:
            found["backbone.pixel_scale"] = self.normalisation.pixel_scale
        return found


def flaw(described: object) -> str | None:
    """What is wrong with a description that is not ours, in words; None where all is of the right kind."""
    if not isinstance(described, Description):
        return f"gives {described!r}, expected a Description"
    height_width = isinstance(described.resize, tuple) and len(described.resize) == 2
    if not (height_width and all(isinstance(side, int) and side > 0 for side in described.resize)):
        return f"gives resize = {described.resize!r}, expected height and width in pixels"
    columns = [one.column if isinstance(one, MapSpec) else None for one in described.maps]
    if not columns or None in columns or len(set(columns)) < len(columns):
        return f"gives maps = {described.maps!r}, expected a MapSpec for each column"
    if odd := [column for column in columns if not str(column).isidentifier()]:
        return f"gives a map the column {odd[0]!r}, expected letters, digits and underscores"
    if taken := sorted({"image_id", "status", "error"} & {*columns}):
        return f"gives a map the column {taken[0]!r}, which is the name of another in every shard"
    seen = described.normalisation
    if not isinstance(seen, Normalisation) or not all(len(one) == 3 for one in (seen.mean, seen.std)) or 0 in seen.std:
        return f"gives normalisation = {seen!r}, expected a Normalisation of three channels that divides by no 0"
    if described.interpolation not in get_args(Interpolation) or not 0 < described.crop_fraction <= 1:
        told = f"{described.interpolation!r} and {described.crop_fraction!r}"
        return f"gives interpolation and crop_fraction {told}, expected bilinear or bicubic, and above 0 up to 1"
    if not (described.published is None or isinstance(described.published, Published)):
        return f"gives published = {described.published!r}, expected a Published or None"
    return None
