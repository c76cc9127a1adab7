"""ResNet-50 trained by DINO without labels: the regions of its third stage, and the pooled fourth.

The whole picture is squeezed into a square, so that the regions cover all of it. DINO's own evaluation cuts a square
out of the middle (shorter side 256, bicubic, crop 224): `backbone.fit = "crop"` does that, with the bilinear filter.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (ICCV 2021); He et al., "Deep
Residual Learning for Image Recognition", table 1.
"""

from typing import TYPE_CHECKING

from pipeline.backbones.description import IMAGENET, Description
from pipeline.backbones.offer import Layer, Offer
from pipeline.backbones.weights import Published, assemble
from schemas.config import BackboneConfig

if TYPE_CHECKING:
    from torch import nn
    from torchvision.models import ResNet

PUBLISHED = Published(
    name="DINO ResNet-50",
    address="https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
    sha256=None,  # its publisher tells none
    licence="published by the authors of DINO (Apache-2.0); trained on ImageNet, whose own terms of access apply",
)
OFFER = Offer(
    "dino_resnet50",
    {f"layer{stage}": Layer(f"layer{stage}", 2 ** (7 + stage), 2 ** (1 + stage)) for stage in (1, 2, 3, 4)}
    | {"pooled": Layer("avgpool", 2048)},
    usual=("layer3", "pooled"),
    smallest_px=32,
    padded=True,
)


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
    from torch import nn

    from pipeline.backbones.tapped import tapped

    whole = assemble(_create, config, PUBLISHED)
    stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
    stages = [whole.layer1, whole.layer2, whole.layer3, whole.layer4]
    layers = [stem, *stages, nn.Sequential(whole.avgpool, nn.Flatten())]
    ends = {column: number for number, column in enumerate(OFFER.layers, start=2)}
    return tapped(layers, ends, OFFER.columns(config))


def _create() -> "ResNet":
    """Without classes: DINO has none, and its file holds no layer for them."""
    from torch import nn
    from torchvision.models import resnet50

    network = resnet50(weights=None)
    network.fc = nn.Identity()
    return network
