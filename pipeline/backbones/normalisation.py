"""What is subtracted from pixels and what they are divided by, before a backbone sees them."""

from dataclasses import dataclass

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """Per channel (red, green, blue), for pixels in [0, 1]: (pixel - mean) / std."""

    mean: Channels
    std: Channels


# Source: torchvision, transforms of the weights `IMAGENET1K_V1`.
IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
