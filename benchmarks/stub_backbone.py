"""A backbone that costs next to nothing and gives maps of VGG-19's shapes: what is left is all around a network."""

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from pipeline.backbones import vgg19
from pipeline.backbones.weights import assemble
from schemas.config import BackboneConfig

NORMALISATION, PUBLISHED, OFFER = vgg19.NORMALISATION, None, vgg19.OFFER

_STRIDE = 16


class Stub(nn.Module):
    """Colours of 16 x 16 pixels spread over VGG-19's channels; about three quarters of the numbers are 0."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Conv2d(3, OFFER.layers["conv5"].channels, 1)
        self.whole = nn.Linear(3, OFFER.layers["fc7"].channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by column."""
        regions = (self.spread(avg_pool2d(images, _STRIDE)) - 0.4).relu().permute(0, 2, 3, 1)
        return {"conv5": regions, "fc7": self.whole(adaptive_avg_pool2d(images, 1).flatten(1)).relu()}


def build(config: BackboneConfig) -> nn.Module:
    """The stub, with random weights."""
    return assemble(Stub, config, PUBLISHED)
