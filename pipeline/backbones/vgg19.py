"""VGG-19 through torchvision: the regions behind its last convolution, and the vector before its classes.

`conv5` is the output of relu5_4, before the last max-pool; `fc7` that of the second fully connected layer, behind its
ReLU. The whole picture is squeezed into a square, no crop, so that the regions cover all of it.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1, column E.
"""

from typing import TYPE_CHECKING

from pipeline.backbones.normalisation import IMAGENET
from pipeline.backbones.weights import Published, assemble
from schemas.config import BackboneConfig
from schemas.errors import UsageError
from schemas.features import MapSpec

if TYPE_CHECKING:
    from torch import nn

NORMALISATION = IMAGENET
PUBLISHED = Published(
    name="torchvision IMAGENET1K_V1",
    address="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9d",  # as many digits as the file's name carries
    licence="published by torchvision (BSD-3-Clause); trained on ImageNet, whose own terms of access apply",
)

_POOLS_BEFORE_REGIONS = 4  # max-pools, each halves the side
_REGION_CHANNELS = 512
_GLOBAL_SIZE = 4096


def maps(config: BackboneConfig) -> tuple[MapSpec, ...]:
    """What is stored of an image of `input_px` on each side.

    Raises:
        UsageError: the last max-pool would leave nothing of so small an image.
    """
    if config.input_px < (smallest := 2 ** (_POOLS_BEFORE_REGIONS + 1)):
        raise UsageError(f"backbone.input_px = {config.input_px}: VGG-19 needs at least {smallest}")
    side = config.input_px // 2**_POOLS_BEFORE_REGIONS
    return (
        MapSpec(column="conv5", role="region", layer="relu5_4", shape=(side, side, _REGION_CHANNELS)),
        MapSpec(column="fc7", role="global", layer="relu7", shape=(_GLOBAL_SIZE,), layout="C"),
    )


def build(config: BackboneConfig) -> "nn.Module":
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: as `weights.assemble`.
    """
    from torch import nn
    from torchvision.models import vgg19

    from pipeline.backbones.tapped import TappedNetwork

    whole = assemble(lambda: vgg19(weights=None), config, PUBLISHED)
    last_pool = whole.features[-1:]
    without_classes = whole.classifier[:-2]  # less the last layer and the dropout before it
    to_vector = nn.Sequential(last_pool, whole.avgpool, nn.Flatten(), without_classes)
    return TappedNetwork({"conv5": whole.features[:-1], "fc7": to_vector})
