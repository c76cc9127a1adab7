"""Which maps a backbone can give, and which of them the settings choose. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.command import Command
from schemas.config import BackboneConfig
from schemas.errors import UsageError, unknown_name
from schemas.features import MapSpec

USUAL_PX = 224  # side of an input where neither the settings nor the backbone say one


@dataclass(frozen=True)
class Layer:
    """A map that a backbone can give.

    Attributes:
        name: of the layer, in its paper or in torchvision.
        channels: of the map.
        stride: input pixels from one region to the next; None for a global feature.
    """

    name: str
    channels: int
    stride: int | None = None


@dataclass(frozen=True)
class Offer:
    """The maps of a backbone, by column, from the first layer to the last.

    Attributes:
        backbone: name of it.
        usual: columns that are stored where the settings name none. The first region map and the first global one are
            those that a model of one of each reads.
        smallest_px: the least side of an input.
        padded: layers that halve a side round up (they pad); else they round down.
    """

    backbone: str
    layers: Mapping[str, Layer]
    usual: tuple[str, ...]
    smallest_px: int
    padded: bool = False

    def columns(self, config: BackboneConfig) -> tuple[str, ...]:
        """The columns to store, in the order of the settings.

        Raises:
            UsageError: the settings name an unknown layer, or one twice.
        """
        chosen = config.layers or self.usual
        for column in chosen:
            if column not in self.layers:
                raise unknown_name(f"layer of {self.backbone} in backbone.layers", column, self.layers)
        if len(set(chosen)) < len(chosen):
            raise UsageError(f"backbone.layers = {', '.join(chosen)}:", got="a layer twice", expected="each once")
        return chosen

    def maps(self, config: BackboneConfig) -> tuple[MapSpec, ...]:
        """What is stored of an image of `input_px` on each side.

        Raises:
            UsageError: as `columns`, or the input is too small for the network.
        """
        side_px, _ = self.resize(config)
        if side_px < self.smallest_px:
            raise UsageError(
                f"backbone.input_px = {side_px}: {self.backbone} needs at least {self.smallest_px}",
                hint="Use:",
                run=Command(sets={"backbone.input_px": self.smallest_px}),
            )
        return tuple(self._map(column, side_px) for column in self.columns(config))

    def resize(self, config: BackboneConfig) -> tuple[int, int]:
        """Height and width of what the network takes."""
        side_px = config.input_px or USUAL_PX
        return side_px, side_px

    def _map(self, column: str, input_px: int) -> MapSpec:
        layer = self.layers[column]
        role: Literal["region", "global"] = "region" if layer.stride else "global"
        if layer.stride is None:
            return MapSpec(column=column, role=role, layer=layer.name, shape=(layer.channels,), layout="C")
        side = -(-input_px // layer.stride) if self.padded else input_px // layer.stride
        return MapSpec(column=column, role=role, layer=layer.name, shape=(side, side, layer.channels))
