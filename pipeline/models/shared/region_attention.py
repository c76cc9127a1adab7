"""Regions behind one convolution, and attentions over them that labels share: what LESA and its variants build on."""

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.shared.norm import BatchNorm

_KERNEL = 2
_WITHIN = 2.0  # deviations, of a truncated normal distribution
_TRUNCATED = 1.3  # its variance is about 1 / 1.3 of the one before it is cut


class RegionTrunk(nn.Module):
    """A 2x2 convolution without offsets, batch normalisation and ReLU; channels, height and width stay.

    Zeros are added on the right and at the bottom alone, as TensorFlow's SAME does.

    Source: LESA's released code (CVPR 2020).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=_KERNEL, bias=False)
        self.norm = BatchNorm(channels, eps=1e-3, momentum=0.01)
        nn.init.xavier_uniform_(self.conv.weight)

    def forward(self, region: Float[Tensor, "image height width channel"]) -> Float[Tensor, "image region channel"]:
        """The regions, row by row, float32."""
        by_channel = region.to(self.conv.weight.dtype).contiguous().permute(0, 3, 1, 2)
        padded = functional.pad(by_channel, (0, _KERNEL - 1, 0, _KERNEL - 1))
        return functional.relu(self.norm(self.conv(padded))).permute(0, 2, 3, 1).flatten(1, 2)


class SharedAttention(nn.Module):
    """Several attentions over the regions of an image: energies [tanh([f, 1] W1), 1] W2, before the softmax.

    Args:
        channels: of a region f.
        attentions: how many.

    Source: LESA (CVPR 2020), its released code.
    """

    def __init__(self, channels: int, attentions: int) -> None:
        super().__init__()
        self.hidden = nn.Parameter(truncated_normal(channels + 1, channels))
        self.energy = nn.Parameter(truncated_normal(channels + 1, attentions))

    def forward(self, regions: Float[Tensor, "image region channel"]) -> Float[Tensor, "image region attention"]:
        """Energies of each region under each attention."""
        return _with_one(torch.tanh(_with_one(regions) @ self.hidden)) @ self.energy


def attended(
    regions: Float[Tensor, "image region channel"], energies: Float[Tensor, "image region attention"]
) -> Float[Tensor, "image attention channel"]:
    """The mean of the regions under each attention, weighted by the softmax of its energies over the regions."""
    return energies.softmax(dim=1).mT @ regions


def truncated_normal(rows: int, columns: int) -> Float[Tensor, "row column"]:
    """Fresh weights of variance 2 / rows, cut at two deviations of the distribution that they are drawn from."""
    deviation = sqrt(_TRUNCATED * 2 / rows)
    drawn = torch.empty(rows, columns)
    return nn.init.trunc_normal_(drawn, std=deviation, a=-_WITHIN * deviation, b=_WITHIN * deviation)


def _with_one(values: Float[Tensor, "... channel"]) -> Float[Tensor, "... channelandone"]:
    return functional.pad(values, (0, 1), value=1.0)
