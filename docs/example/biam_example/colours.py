"""Backbone `colours`: the mean colour of each cell of a grid, and a mixture of them by random weights."""

from typing import TYPE_CHECKING

from pipeline.backbones.description import Description, Normalisation
from pipeline.backbones.offer import Layer, Offer
from pipeline.backbones.weights import assemble
from schemas.config import BackboneConfig

if TYPE_CHECKING:
    from pipeline.backbones.tapped import TappedNetwork

CELL_PX, MIXED = 16, 24
OFFER = Offer(
    "colours",
    {"cells": Layer("cells", 3, CELL_PX), "mixed": Layer("mixed", MIXED)},
    usual=("cells", "mixed"),
    smallest_px=CELL_PX,
)


def describe(config: BackboneConfig) -> Description:
    """Pixels from -1 to 1. No weights are published: `backbone.weights` has to name some, such as random:0."""
    seen = Normalisation(mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0), pixel_scale=127.5)
    return Description(OFFER.maps(config), (config.input_px, config.input_px), seen, published=None)


def build(config: BackboneConfig) -> "TappedNetwork":
    """The network, with its weights; of what is asked for only the steps up to the last."""
    from pipeline.backbones.tapped import tapped

    steps = list(assemble(_create, config, None).steps.children())
    return tapped(steps, {"cells": 1, "mixed": 2}, OFFER.columns(config))


def _create() -> "TappedNetwork":
    from torch import nn

    from pipeline.backbones.tapped import TappedNetwork

    mixture = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, MIXED), nn.Tanh())
    return TappedNetwork({"cells": nn.AvgPool2d(CELL_PX), "mixed": mixture})
