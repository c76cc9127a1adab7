"""Each label has an attention of its own, from its word: low-rank bilinear energies with the regions."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor, nn

from pipeline.models.attention_per_label import AttentionPerLabelConfig
from pipeline.models.shared.region_attention import RegionTrunk, truncated_normal
from schemas.status import LabelCode

_CELLS_AT_ONCE = 1 << 23  # [image, region, label] without gradients: 32 MB


class Sampled(NamedTuple):
    """What the network gives in training: scores [image, column] of some labels, and their columns."""

    scores: Tensor
    columns: Tensor


class AttentionPerLabel(nn.Module):
    """A score is the mean of a label's responses at all regions, weighted by the label's own attention.

    Args:
        channels: of a region.
        word_size: elements of a word vector.
        settings: `joint_size`, `sampled_labels`.

    Symbols: the energy of label c at region r is p . (tanh(A1 h_r) * tanh(A2 w_c)); of_region -> A1, of_word -> A2,
    energy -> p, projection -> W.
    """

    def __init__(self, channels: int, word_size: int, settings: AttentionPerLabelConfig) -> None:
        super().__init__()
        self.trunk = RegionTrunk(channels)
        self.of_region = nn.Parameter(truncated_normal(channels, settings.joint_size).T.contiguous())
        self.of_word = nn.Parameter(truncated_normal(word_size, settings.joint_size).T.contiguous())
        self.energy = nn.Parameter(truncated_normal(settings.joint_size, 1)[:, 0].contiguous())
        self.projection = nn.Parameter(truncated_normal(channels, word_size))
        self.sampled_labels = settings.sampled_labels

    def forward(
        self,
        region: Float[Tensor, "image height width channel"],
        words: Float[Tensor, "label word"],
        codes: Int8[Tensor, "image label"] | None = None,
    ) -> Tensor | Sampled:
        """Scores [image, label], float32; in training those of the labels that the step looks at."""
        regions = self.trunk(region)
        if self.training:
            assert codes is not None, "training reads codes"
            columns = self._columns(codes)
            return Sampled(self.scored(regions, words[columns]), columns)
        at_once = max(1, _CELLS_AT_ONCE // max(1, regions.shape[1] * len(words)))
        return torch.cat([self.scored(some, words) for some in regions.split(at_once)]).float()

    def scored(
        self, regions: Float[Tensor, "image region channel"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"]:
        """Scores of regions behind the trunk."""
        labels = words.to(self.projection.dtype) @ self.projection.T
        return (self.attention(regions, words) * (regions @ labels.T)).sum(dim=1)

    def attention(
        self, regions: Float[Tensor, "image region channel"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image region label"]:
        """How much each region counts for each label; 1 in all over the regions."""
        of_words = torch.tanh(words.to(self.of_word.dtype) @ self.of_word.T) * self.energy
        return (torch.tanh(regions @ self.of_region.T) @ of_words.T).softmax(dim=1)

    def response_maps(
        self, region: Float[Tensor, "image height width channel"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label height width"]:
        """Where the attention of each label looks."""
        return self.attention(self.trunk(region), words).mT.float().unflatten(2, region.shape[1:3])

    def _columns(self, codes: Int8[Tensor, "image label"]) -> Int64[Tensor, " column"]:
        """All labels that an image of the batch bears, and as many others as a step looks at, in label order."""
        borne = (codes == LabelCode.PRESENT).any(dim=0)
        others = torch.nonzero(~borne)[:, 0]
        if len(others) > self.sampled_labels:
            drawn = torch.randperm(len(others))[: self.sampled_labels].to(others.device)
            others = others[drawn]
        return torch.cat([torch.nonzero(borne)[:, 0], others]).sort().values
