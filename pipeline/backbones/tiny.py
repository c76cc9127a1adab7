"""Two convolutions with random weights: for tests, and for benchmarks of everything around a backbone.

It gives a region map with as many regions as VGG-19's and a global vector at a thousandth of the cost. Its features are
good for nothing else, and no weights are published.
"""

from typing import TYPE_CHECKING

from pipeline.backbones.normalisation import Normalisation
from pipeline.backbones.weights import assemble
from schemas.config import BackboneConfig
from schemas.errors import UsageError
from schemas.features import MapSpec

if TYPE_CHECKING:
    from torch import nn

NORMALISATION = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PUBLISHED = None

_STRIDE = 4  # of each convolution, and the side of its kernel
_CHANNELS = (8, 16)
_GLOBAL_SIZE = 32


def maps(config: BackboneConfig) -> tuple[MapSpec, ...]:
    """What is stored of an image of `input_px` on each side.

    Raises:
        UsageError: the convolutions would leave nothing of so small an image.
    """
    side = config.input_px // _STRIDE // _STRIDE
    if not side:
        raise UsageError(f"backbone.input_px = {config.input_px}: tiny needs at least {_STRIDE * _STRIDE}")
    return (
        MapSpec(column="conv2", role="region", layer="conv2", shape=(side, side, _CHANNELS[-1])),
        MapSpec(column="fc1", role="global", layer="fc1", shape=(_GLOBAL_SIZE,), layout="C"),
    )


def build(config: BackboneConfig) -> "nn.Module":
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: as `weights.assemble`.
    """
    return assemble(_create, config, PUBLISHED)


def _create() -> "nn.Module":
    from torch import nn

    from pipeline.backbones.tapped import TappedNetwork

    first, last = _CHANNELS
    convolutions = nn.Sequential(
        nn.Conv2d(3, first, _STRIDE, _STRIDE), nn.ReLU(), nn.Conv2d(first, last, _STRIDE, _STRIDE), nn.ReLU()
    )
    to_vector = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, _GLOBAL_SIZE), nn.ReLU())
    return TappedNetwork({"conv2": convolutions, "fc1": to_vector})
