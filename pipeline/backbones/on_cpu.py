"""A network in the form that runs fastest on a CPU: few images at a time, 3x3 convolutions by Winograd in float32."""

from typing import Any

import torch
from torch import nn

from pipeline.backbones.tapped import TappedNetwork
from pipeline.backbones.winograd import Winograd, suits

# Maps of so many images stay in the caches: VGG-19 on 2 cores computes 16.6 images/s, 14.9 with all 16 of a batch at
# once (bfloat16: 51 and 43), and holds a quarter of the memory.
_MAPS = 4
_VECTORS = 16  # fully connected layers read their weights, 478 MB in VGG-19, once for so many images


class InParts(nn.Module):
    """Layers that always see the same number of images: no image's numbers depend on how many came along.

    Args:
        layers: they work on each image by itself.
        images: at a time; the last few are filled up with zeros.
    """

    def __init__(self, layers: nn.Module, images: int) -> None:
        super().__init__()
        self.layers = layers
        self.images = images

    def forward(self, batch: torch.Tensor) -> Any:
        """What the layers give for [image, ...]: a tensor, or several by name."""
        found = [self._part(part) for part in batch.split(self.images)]
        if isinstance(found[0], dict):
            return {name: torch.cat([part[name] for part in found]) for name in found[0]}
        return torch.cat(found)

    def _part(self, part: torch.Tensor) -> Any:
        count = len(part)
        if count == self.images:
            return self.layers(part)
        filled = part.new_zeros(self.images, *part.shape[1:])
        if part.ndim == 4:
            filled = filled.to(memory_format=torch.channels_last)
        filled[:count] = part
        given = self.layers(filled)
        return {name: values[:count] for name, values in given.items()} if isinstance(given, dict) else given[:count]


def on_cpu(network: nn.Module) -> nn.Module:
    """The network, changed in place, so that its layers always see tensors of one shape.

    Args:
        network: on a CPU, in the precision in which it computes.
    """
    _by_winograd(network)
    if not isinstance(network, TappedNetwork):
        return InParts(network, _MAPS)
    for column, step in network.steps.items():
        network.steps[column] = _in_parts(step)
    return network


def pieces(network: nn.Module) -> list[nn.Module]:
    """What always sees tensors of one shape: the layers of each part, else the whole network."""
    return [one.layers for one in network.modules() if isinstance(one, InParts)] or [network]


def _by_winograd(module: nn.Module) -> None:
    for name, child in module.named_children():
        # That class itself: one below it may pad or scale weights in a way of its own.
        if type(child) is nn.Conv2d and suits(child):
            setattr(module, name, Winograd(child))
        else:
            _by_winograd(child)


def _in_parts(step: nn.Module) -> nn.Module:
    """Maps a few images at a time; from where they become vectors, more."""
    layers = list(step) if type(step) is nn.Sequential else [step]
    end = next((number for number, layer in enumerate(layers) if _gives_vectors(layer)), len(layers))
    parts = [(layers[:end], _MAPS), (layers[end:], _VECTORS)]
    return nn.Sequential(*(InParts(nn.Sequential(*some), images) for some, images in parts if some))


def _gives_vectors(layer: nn.Module) -> bool:
    return any(isinstance(one, nn.Flatten | nn.Linear) for one in layer.modules())
