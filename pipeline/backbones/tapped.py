"""A network that gives the outputs of some of its layers, in one pass."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn


class TappedNetwork(nn.Module):
    """Steps that run one after the other; what each gives is a map of that name.

    Args:
        steps: column -> the layers from the step before to this map. No step may begin with a layer that works in
            place: it would overwrite the map before it.
    """

    def __init__(self, steps: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleDict(dict(steps))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by column: [image, height, width, channel] or [image, channel].

        Args:
            images: normalised, [image, 3, height, width].
        """
        maps = {}
        for column, step in self.steps.items():
            images = step(images)
            # A view: behind a convolution in channels_last memory the channels are the last axis already.
            maps[column] = images.permute(0, 2, 3, 1) if images.ndim == 4 else images
        return maps


def tapped(layers: Sequence[nn.Module], ends: Mapping[str, int], columns: Collection[str]) -> TappedNetwork:
    """The network up to the last of some columns, in evaluation mode; what comes behind it is never computed.

    Args:
        layers: the whole network, in order.
        ends: column -> number of layers that its map has behind it.
    """
    stops = sorted((ends[column], column) for column in columns)
    starts = [0, *(stop for stop, _ in stops)]
    spans = zip(pairwise(starts), stops, strict=True)
    return TappedNetwork({column: _joined(layers[start:stop]) for (start, stop), (_, column) in spans}).eval()


def _joined(layers: Sequence[nn.Module]) -> nn.Module:
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
