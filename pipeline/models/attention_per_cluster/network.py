"""A score is the product of a label's projected word and what the attention of its cluster pools."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.shared.region_attention import RegionTrunk, SharedAttention, attended, truncated_normal


class AttentionPerCluster(nn.Module):
    """Labels find their cluster by the cosine of their word and its centroid, unseen ones as seen ones do.

    Args:
        channels: of a region.
        word_size: elements of a word vector.
        clusters: of labels; each has an attention.

    Attributes:
        centroids: [cluster, word], of norm 1, fitted to the seen words.
    """

    centroids: Tensor

    def __init__(self, channels: int, word_size: int, clusters: int) -> None:
        super().__init__()
        self.trunk = RegionTrunk(channels)
        self.attention = SharedAttention(channels, clusters)
        self.projection = nn.Parameter(truncated_normal(channels, word_size))
        self.register_buffer("centroids", torch.zeros(clusters, word_size))

    def forward(
        self, region: Float[Tensor, "image height width channel"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"]:
        """Score of each label, float32."""
        return self.scored(self.trunk(region), words).float()

    def scored(
        self, regions: Float[Tensor, "image region channel"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"]:
        """The same of regions behind the trunk."""
        labels = words.to(self.projection.dtype) @ self.projection.T
        by_attention = attended(regions, self.attention(regions)) @ labels.T
        own = self.cluster(words).expand(len(regions), 1, -1)
        return by_attention.gather(1, own).squeeze(1)

    def response_maps(
        self, region: Float[Tensor, "image height width channel"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label height width"]:
        """Where the attention of a label's cluster looks."""
        weights = self.attention(self.trunk(region)).softmax(dim=1).mT.float()
        return weights[:, self.cluster(words)].unflatten(2, region.shape[1:3])

    def cluster(self, words: Float[Tensor, "label word"]) -> Int64[Tensor, " label"]:
        """The cluster of each label."""
        return (functional.normalize(words.to(self.centroids.dtype), dim=1) @ self.centroids.T).argmax(dim=1)
