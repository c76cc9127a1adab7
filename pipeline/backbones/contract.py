"""What a backbone's module has to have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.backbones.description import Description

if TYPE_CHECKING:
    from torch import nn


class Backbone(Protocol):
    """A network that turns an image into named maps. Its module loads without torch; `build` imports what it needs."""

    def describe(self, config: Any) -> Description:
        """Maps, resize, normalisation and published weights, where `config` is section `backbone` with its `input_px`.

        Raises:
            UsageError: the settings name an unknown layer, or an input too small.
        """

    def build(self, config: Any) -> "nn.Module":
        """The network, in evaluation mode: from images to the maps that are described, by column.

        It takes normalised images, [image, 3, height, width]. A region map is [image, height, width, channel], a global
        one [image, channel]; no image's numbers depend on the others.
        """


class BackboneOptions(Protocol):
    """What a backbone may have, too."""

    def input_px(self, config: Any) -> int:
        """Side of the input where the settings name none; without this it is 224."""

    def members(self, text: str) -> Sequence[str]:
        """Of a module that stands for many backbones: what stands behind the colon in names with this text in them.

        Raises:
            UsageError: nobody can tell here.
        """
