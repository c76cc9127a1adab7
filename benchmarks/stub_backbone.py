"""A backbone that costs next to nothing and gives maps of VGG-19's shapes: what is left is all around a network."""

from dataclasses import replace

from torch import nn

from pipeline.backbones import vgg19
from pipeline.backbones.description import Description
from pipeline.backbones.tapped import TappedNetwork
from pipeline.backbones.weights import assemble
from schemas.config import BackboneConfig

PUBLISHED = None

_STRIDE = 16


def describe(config: BackboneConfig) -> Description:
    """What VGG-19 says of itself, without weights that anyone can fetch."""
    return replace(vgg19.describe(config), published=PUBLISHED)


def build(config: BackboneConfig) -> nn.Module:
    """Colours of every 16th pixel spread over VGG-19's channels, with random weights; many of the numbers are 0."""
    return assemble(_create, config, PUBLISHED)


def _create() -> TappedNetwork:
    channels, size = vgg19.OFFER.layers["conv5"].channels, vgg19.OFFER.layers["fc7"].channels
    regions = nn.Sequential(nn.AvgPool2d(1, _STRIDE), nn.Conv2d(3, channels, 1), nn.ReLU())
    whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, size), nn.ReLU())
    return TappedNetwork({"conv5": regions, "fc7": whole})
