"""The parts of BiAM: convolution blocks, and the two ways a region gets its context.

All of them map [image, channel, height, width], channels-last in memory, to the same height and width.
Symbols, ours -> the paper's: source -> h_r, heads -> H, global feature -> x_g.
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.biam.attention import sigmoid_attention, softmax_attention
from pipeline.models.biam.dropout import Dropout
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.shared.norm import BatchNorm

LEAKY_SLOPE = 0.2


def conv_relu_norm(channels_in: int, channels_out: int, norm: BatchNorm) -> nn.Sequential:
    """A 3x3 convolution, ReLU, then batch normalisation.

    Source: BiAM (ICCV 2021), section 3, "Implementation Details".
    """
    conv = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)
    return nn.Sequential(OrderedDict(conv=conv, relu=nn.ReLU(inplace=True), norm=norm))


def pointwise_leaky(channels_in: int, channels_out: int) -> nn.Sequential:
    """A 1x1 convolution and a leaky ReLU."""
    conv = nn.Conv2d(channels_in, channels_out, kernel_size=1)
    return nn.Sequential(OrderedDict(conv=conv, leaky=nn.LeakyReLU(LEAKY_SLOPE, inplace=True)))


class StandardisedConv(nn.Conv2d):
    """A 1x1 convolution of standardised channels: its weights undo that, so that the map is read as it is.

    Args:
        channels_in: of the map.
        channels_out: of what comes out.

    Attributes:
        mean: [channel], of the map.
        deviation: [channel], above 0.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size=1)
        self.register_buffer("mean", torch.zeros(channels_in))
        self.register_buffer("deviation", torch.ones(channels_in))

    def forward(
        self,
        input: Float[Tensor, "image channel height width"],  # noqa: A002
    ) -> Float[Tensor, "image channelout height width"]:
        """The convolution of (input - mean) / deviation."""
        assert self.bias is not None, "nn.Conv2d has one unless told otherwise"
        weight = self.weight / self.deviation[:, None, None]
        return functional.conv2d(input, weight, self.bias - weight[:, :, 0, 0] @ self.mean)


class RegionContext(nn.Module):
    """Each region enriched by what it attends to among all regions of its image.

    Args:
        config: `channels` of the input and the output, `heads`, `region_weighting`, `region_norm`.
        hidden: channels between the two 1x1 convolutions that follow the attention.
        bias: whether query, key, value and output projections have one.
        dropout: share of attention weights, and of the attention's output, set to zero while training.

    Source: BiAM (ICCV 2021), section 2.2.1, equations 2 to 5; table 4 for `region_weighting` and `region_norm`.
    Differs from the paper: it does not say what stands between the two convolutions of c_r. Two linear maps in a row
        are one, so a ReLU does, as in the released code. Nor does it say where LayerNorm stood in its comparison: after
        both residuals, over the channels of a region, as in the attention that it builds on.
    """

    def __init__(self, config: BiamConfig, hidden: int, bias: bool, dropout: float) -> None:
        super().__init__()
        channels = config.channels
        self.heads = config.heads
        self.attend = {"softmax": softmax_attention, "sigmoid": sigmoid_attention}[config.region_weighting]
        self.query = nn.Conv2d(channels, channels, kernel_size=1, bias=bias)
        self.key = nn.Conv2d(channels, channels, kernel_size=1, bias=bias)
        self.value = nn.Conv2d(channels, channels, kernel_size=1, bias=bias)
        self.output = nn.Conv2d(channels, channels, kernel_size=1, bias=bias)
        self.widen = nn.Conv2d(channels, hidden, kernel_size=1)
        self.narrow = nn.Conv2d(hidden, channels, kernel_size=1)
        self.dropout = Dropout(dropout)
        layer_norm = config.region_norm == "layer"
        self.context_norm = RegionNorm(channels) if layer_norm else nn.Identity()
        self.enriched_norm = RegionNorm(channels) if layer_norm else nn.Identity()

    def forward(
        self, source: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image channel height width"]:
        """The enriched regions e_r."""
        attended = self.attend(
            self._split(self.query(source)),
            self._split(self.key(source)),
            self._split(self.value(source)),
            self.dropout.share if self.training else 0.0,
        )
        joined = attended.flatten(2).unflatten(1, source.shape[2:]).permute(0, 3, 1, 2)
        context = self.context_norm(source + self.dropout(self.output(joined)))
        enriched: Tensor = self.enriched_norm(context + self.narrow(self.widen(context).relu_()))
        return enriched

    def _split(
        self, projected: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image region head headchannel"]:
        """Head h takes the h-th run of neighbouring channels."""
        return projected.permute(0, 2, 3, 1).flatten(1, 2).unflatten(2, (self.heads, -1))


class RegionNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each region."""

    def forward(
        self,
        input: Float[Tensor, "image channel height width"],  # noqa: A002
    ) -> Float[Tensor, "image channel height width"]:
        """The regions, each with mean 0 and variance 1 before weight and bias."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SceneContext(nn.Module):
    """Each channel of the regions weighted by how well it agrees with the global feature of the image.

    Args:
        key: maps the global feature, as a 1x1 map, to the channels.
        shared: what query and value both pass before anything else.
        refine: maps the weighted regions to what is added to the residual.
        source_residual: whether the residual is the input (the paper), or the weighted regions (the released code).
        dropout: share of the global feature set to zero while training.
        weighting: `sigmoid`, or `softmax` over the channels.

    Source: BiAM (ICCV 2021), section 2.2.2, equations 6 to 8; table 4 for the softmax.
    """

    def __init__(
        self,
        key: nn.Conv2d,
        shared: nn.Module,
        refine: nn.Module,
        source_residual: bool,
        dropout: float,
        weighting: str,
    ) -> None:
        super().__init__()
        self.key = key
        self.shared = shared
        self.refine = refine
        self.source_residual = source_residual
        self.weigh: nn.Module = {"sigmoid": nn.Sigmoid(), "softmax": nn.Softmax(dim=1)}[weighting]
        self.dropout = Dropout(dropout)

    def forward(
        self, source: Float[Tensor, "image channel height width"], global_feature: Float[Tensor, "image global"]
    ) -> Float[Tensor, "image channel height width"]:
        """The enriched regions e_g."""
        value = self.shared(source)
        query = value.mean(dim=(2, 3), keepdim=True)
        key = self.key(self.dropout(global_feature)[:, :, None, None])
        weighted = value * self.weigh(query * key)
        enriched: Tensor = self.refine(weighted) + (source if self.source_residual else weighted)
        return enriched
