"""VGG-19 through torchvision: the regions behind its last convolution, and the vector before its classes.

`conv5` is the output of relu5_4, before the last max-pool; `fc7` that of the second fully connected layer, behind its
ReLU.
"""

from typing import TYPE_CHECKING

from pipeline.backbones import vgg
from pipeline.backbones.description import IMAGENET, Description
from pipeline.backbones.weights import Published, assemble
from schemas.config import BackboneConfig

if TYPE_CHECKING:
    from pipeline.backbones.tapped import TappedNetwork

PUBLISHED = Published(
    name="torchvision IMAGENET1K_V1",
    address="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9d",  # as many digits as the file's name carries
    licence=vgg.LICENCE,
    size_bytes=574_673_361,
)
OFFER = vgg.offer("vgg19", usual=("conv5", "fc7"))


def describe(config: BackboneConfig) -> Description:
    """What goes in and what comes out.

    Raises:
        UsageError: as `Offer.maps`.
    """
    return Description(OFFER.maps(config), OFFER.resize(config), IMAGENET, PUBLISHED)


def build(config: BackboneConfig) -> "TappedNetwork":
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: as `weights.assemble`.
    """
    from torchvision.models import vgg19

    return vgg.tap(assemble(lambda: vgg19(weights=None), config, PUBLISHED), OFFER.columns(config))
