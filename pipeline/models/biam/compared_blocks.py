"""The two attention blocks that the paper compares BiAM with: each stands where BiAM has its region block.

Both map [image, channel, height, width] to the same shape and see no global feature.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

# Of the channels: how narrow query and key are in the two blocks (their papers' figures).
_NON_LOCAL_SHARE = 2
_CRISS_CROSS_SHARE = 8
# Passes through the criss-cross block: after the second one every region has seen every other.
_CRISS_CROSS_PASSES = 2


class NonLocal(nn.Module):
    """The non-local block, embedded Gaussian form. It begins as the identity: its last layer is zero.

    Args:
        channels: of the input and the output.

    Source: Wang et al., "Non-local Neural Networks", CVPR 2018, equations 4 and 6; BiAM, table 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // _NON_LOCAL_SHARE)
        self.query = nn.Conv2d(channels, inner, kernel_size=1)
        self.key = nn.Conv2d(channels, inner, kernel_size=1)
        self.value = nn.Conv2d(channels, inner, kernel_size=1)
        self.output = nn.Conv2d(inner, channels, kernel_size=1)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, source: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image channel height width"]:
        """The source and what its regions gather from all of them."""
        attended = _attend(self.query(source), self.key(source), self.value(source), mask=None)
        enriched: Tensor = source + self.output(attended)
        return enriched


class CrissCross(nn.Module):
    """Criss-cross attention: a region attends to its row and its column, twice with the same weights.

    Args:
        channels: of the input and the output.

    Source: Huang et al., "CCNet: Criss-Cross Attention for Semantic Segmentation", ICCV 2019, section 3.2 and 3.3, with
        two loops; BiAM, table 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // _CRISS_CROSS_SHARE)
        self.query = nn.Conv2d(channels, inner, kernel_size=1)
        self.key = nn.Conv2d(channels, inner, kernel_size=1)
        self.value = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(
        self, source: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image channel height width"]:
        """The source and what its regions gather from their rows and columns, and through these from all."""
        mask = same_row_or_column(source.shape[2], source.shape[3], source.device)
        enriched = source
        for _ in range(_CRISS_CROSS_PASSES):
            enriched = enriched + _attend(self.query(enriched), self.key(enriched), self.value(enriched), mask)
        return enriched


def same_row_or_column(height: int, width: int, device: torch.device) -> Bool[Tensor, "region region"]:
    """Whether two regions of a map share a row or a column; a region shares both with itself.

    All pairs of 14 x 14 regions are compared and most left out: 38 thousand cells, cheaper than to gather rows and
    columns.
    """
    region = torch.arange(height * width, device=device)
    row, column = region // width, region % width
    return (row[:, None] == row) | (column[:, None] == column)


def _attend(
    query: Float[Tensor, "image inner height width"],
    key: Float[Tensor, "image inner height width"],
    value: Float[Tensor, "image channel height width"],
    mask: Bool[Tensor, "region region"] | None,
) -> Float[Tensor, "image channel height width"]:
    """Softmax attention of one head without a scale, in the map's shape."""
    queries, keys, values = (projected.flatten(2).transpose(1, 2) for projected in (query, key, value))
    attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=1.0)
    return attended.transpose(1, 2).unflatten(2, value.shape[2:])
