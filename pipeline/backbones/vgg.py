"""What VGG-19 with and without batch normalisation share: layers, their columns, and torchvision's network.

`conv<k>` is the output of the last convolution of block k behind its ReLU, `pool<k>` that of the max-pool after it;
`fc6` and `fc7` are the fully connected layers behind their ReLUs. The whole picture is squeezed into a square, so that
the regions cover all of it, unless `backbone.fit` says otherwise.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1, column E.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from pipeline.backbones.offer import Layer, Offer

if TYPE_CHECKING:
    from torch import nn
    from torchvision.models import VGG

    from pipeline.backbones.tapped import TappedNetwork

_BLOCKS = {1: (64, 2), 2: (128, 2), 3: (256, 4), 4: (512, 4), 5: (512, 4)}  # channels, convolutions
_GLOBAL_SIZE = 4096

LICENCE = "published by torchvision (BSD-3-Clause); trained on ImageNet, whose own terms of access apply"


def offer(backbone: str, usual: tuple[str, ...]) -> Offer:
    """The maps of a VGG-19 of that name."""
    layers = {}
    for block, (channels, convolutions) in _BLOCKS.items():
        layers[f"conv{block}"] = Layer(f"relu{block}_{convolutions}", channels, 2 ** (block - 1))
        layers[f"pool{block}"] = Layer(f"pool{block}", channels, 2**block)
    layers |= {"fc6": Layer("relu6", _GLOBAL_SIZE), "fc7": Layer("relu7", _GLOBAL_SIZE)}
    return Offer(backbone, layers, usual, smallest_px=2 ** len(_BLOCKS))


def tap(whole: "VGG", columns: Collection[str]) -> "TappedNetwork":
    """The network of torchvision, giving these columns."""
    from torch import nn

    from pipeline.backbones.tapped import tapped

    layers, block = list(whole.features), 1
    ends: dict[str, int] = {}
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            ends |= {f"conv{block}": number, f"pool{block}": number + 1}
            if f"conv{block}" not in columns:
                _pool_first(layers, number)
            block += 1
    layers += [nn.Sequential(whole.avgpool, nn.Flatten()), *whole.classifier]
    rectified = [number for number, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
    ends |= {"fc6": rectified[-2] + 1, "fc7": rectified[-1] + 1}
    return tapped(layers, ends, columns)


def _pool_first(layers: "list[nn.Module]", pool: int) -> None:
    """Pool before the ReLU in front of it: the same numbers, and the ReLU has a quarter of them to look at.

    The ReLUs took 30 % of the network's time in bfloat16 on a CPU with AMX.
    """
    layers[pool - 1], layers[pool] = layers[pool], layers[pool - 1]
