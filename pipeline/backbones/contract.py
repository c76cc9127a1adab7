"""What a backbone's module has to have."""

from typing import TYPE_CHECKING, Any, Protocol

from pipeline.backbones.normalisation import Normalisation
from pipeline.backbones.offer import Offer
from pipeline.backbones.weights import Published

if TYPE_CHECKING:
    from pipeline.backbones.tapped import TappedNetwork


class Backbone(Protocol):
    """A network that turns an image into named maps. Its module loads without torch; `build` imports what it needs.

    Attributes:
        NORMALISATION: of the pixels it sees.
        PUBLISHED: weights that anyone can fetch, or None.
        OFFER: the maps that it can give.
    """

    NORMALISATION: Normalisation
    PUBLISHED: Published | None
    OFFER: Offer

    def build(self, config: Any) -> "TappedNetwork":
        """The network, in evaluation mode: images [image, 3, height, width] to the maps of `OFFER.columns(config)`."""
