"""What a backbone's module has to have."""

from typing import TYPE_CHECKING, Any, Protocol

from pipeline.backbones.description import Description

if TYPE_CHECKING:
    from pipeline.backbones.tapped import TappedNetwork


class Backbone(Protocol):
    """A network that turns an image into named maps. Its module loads without torch; `build` imports what it needs."""

    def describe(self, config: Any) -> Description:
        """Maps, resize, normalisation and published weights, where `config` is section `backbone` of the settings.

        Raises:
            UsageError: the settings name an unknown layer, or an input too small.
        """

    def build(self, config: Any) -> "TappedNetwork":
        """The network, in evaluation mode: steps by column, each from the map before it, or the image, to its own.

        It takes normalised images, [image, 3, height, width]; a region map is [image, channel, height, width] between
        the steps, and comes out as [image, height, width, channel].
        """
