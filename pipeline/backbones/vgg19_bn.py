"""VGG-19 with batch normalisation through torchvision: several maps, as (ML)2P-Encoder reads them, and fc7."""

from typing import TYPE_CHECKING

from pipeline.backbones import vgg
from pipeline.backbones.description import IMAGENET, Description
from pipeline.backbones.weights import Published, assemble
from schemas.config import BackboneConfig

if TYPE_CHECKING:
    from torch import nn

PUBLISHED = Published(
    name="torchvision IMAGENET1K_V1",
    address="https://download.pytorch.org/models/vgg19_bn-c79401a0.pth",
    sha256="c79401a0",  # as many digits as the file's name carries
    licence=vgg.LICENCE,
    size_bytes=574_769_405,
)
# pool4 first: a model of one region map takes the first, and this one has BiAM's 14 x 14 regions of 512 channels.
OFFER = vgg.offer("vgg19_bn", usual=("pool4", "pool3", "pool5", "fc7"))


def describe(config: BackboneConfig) -> Description:
    """What goes in and what comes out.

    Raises:
        UsageError: as `Offer.maps`.
    """
    return Description(OFFER.maps(config), OFFER.resize(config), IMAGENET, PUBLISHED)


def build(config: BackboneConfig) -> "nn.Module":
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: as `weights.assemble`.
    """
    from torchvision.models import vgg19_bn

    return vgg.tap(assemble(lambda: vgg19_bn(weights=None), config, PUBLISHED), OFFER.columns(config))
