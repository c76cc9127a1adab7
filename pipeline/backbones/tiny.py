"""Two convolutions with random weights: for tests, and for benchmarks of everything around a backbone.

It gives a region map with as many regions as VGG-19's and a global vector at a thousandth of the cost. Its features are
good for nothing else, and no weights are published.
"""

from typing import TYPE_CHECKING

from pipeline.backbones.description import Description, Normalisation
from pipeline.backbones.offer import Layer, Offer
from pipeline.backbones.weights import assemble
from schemas.config import BackboneConfig

if TYPE_CHECKING:
    from torch import nn

    from pipeline.backbones.tapped import TappedNetwork

_NORMALISATION = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PUBLISHED = None

_STRIDE = 4  # of each convolution, and the side of its kernel
_CHANNELS = (8, 16)
_GLOBAL_SIZE = 32

OFFER = Offer(
    "tiny",
    {"conv2": Layer("conv2", _CHANNELS[-1], _STRIDE * _STRIDE), "fc1": Layer("fc1", _GLOBAL_SIZE)},
    usual=("conv2", "fc1"),
    smallest_px=_STRIDE * _STRIDE,
)


def describe(config: BackboneConfig) -> Description:
    """What goes in and what comes out.

    Raises:
        UsageError: as `Offer.maps`.
    """
    return Description(OFFER.maps(config), OFFER.resize(config), _NORMALISATION, PUBLISHED)


def build(config: BackboneConfig) -> "nn.Module":
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: as `weights.assemble`.
    """
    from pipeline.backbones.tapped import tapped

    steps = list(assemble(_create, config, PUBLISHED).steps.children())
    return tapped(steps, {column: end for end, column in enumerate(OFFER.layers, start=1)}, OFFER.columns(config))


def _create() -> "TappedNetwork":
    from torch import nn

    from pipeline.backbones.tapped import TappedNetwork

    first, last = _CHANNELS
    convolutions = nn.Sequential(
        nn.Conv2d(3, first, _STRIDE, _STRIDE), nn.ReLU(), nn.Conv2d(first, last, _STRIDE, _STRIDE), nn.ReLU()
    )
    to_vector = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, _GLOBAL_SIZE), nn.ReLU())
    return TappedNetwork({"conv2": convolutions, "fc1": to_vector})
