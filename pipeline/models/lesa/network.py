"""LESA: pooled features of shared attentions, each compared with each label; and the four parts of its loss."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.shared.processes import summed
from pipeline.models.shared.ranking import ranking_loss
from pipeline.models.shared.region_attention import RegionTrunk, SharedAttention, attended, truncated_normal
from schemas.status import LabelCode

_LEAST_SQUARE = 1e-12  # what a sum of squares counts as at least, where it divides


class LesaOutput(NamedTuple):
    """What the network gives in training.

    Attributes:
        scores: [image, label], the best of all attentions.
        by_attention: [image, attention, label].
        energies: [image, region, attention], before the softmax.
        of_mean: [image, label], the score of the mean of all regions.
    """

    scores: Tensor
    by_attention: Tensor
    energies: Tensor
    of_mean: Tensor


class LossParts(NamedTuple):
    """The parts of the loss, without their weights; those of several processes add up."""

    rank: Tensor
    distribution: Tensor
    against_mean: Tensor
    span: Tensor


class Lesa(nn.Module):
    """A score is the largest over all attentions of the product of a pooled feature and a label's projected word.

    Args:
        channels: of a region.
        word_size: elements of a word vector.
        attentions: how many there are.

    Symbols, ours -> the paper's: attention.hidden -> W1, attention.energy -> W2, projection -> W.
    """

    def __init__(self, channels: int, word_size: int, attentions: int) -> None:
        super().__init__()
        self.trunk = RegionTrunk(channels)
        self.attention = SharedAttention(channels, attentions)
        self.projection = nn.Parameter(truncated_normal(channels, word_size))

    def forward(
        self, region: Float[Tensor, "image height width channel"], words: Float[Tensor, "label word"]
    ) -> Tensor | LesaOutput:
        """Scores [image, label], float32; in training with what the loss looks at, too."""
        regions = self.trunk(region)
        output = self.scored(regions, words)
        return output if self.training else output.scores.float()

    def scored(self, regions: Float[Tensor, "image region channel"], words: Float[Tensor, "label word"]) -> LesaOutput:
        """The same of regions behind the trunk."""
        labels = words.to(self.projection.dtype) @ self.projection.T
        energies = self.attention(regions)
        by_attention = attended(regions, energies) @ labels.T
        return LesaOutput(by_attention.amax(dim=1), by_attention, energies, regions.mean(dim=1) @ labels.T)

    def response_maps(
        self, region: Float[Tensor, "image height width channel"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label height width"]:
        """Where the attention looks that gives a label its score."""
        output = self.scored(self.trunk(region), words)
        weights = output.energies.softmax(dim=1).mT.float()
        winning = output.by_attention.argmax(dim=1)
        of_labels = torch.stack([of_image[best] for of_image, best in zip(weights, winning, strict=True)])
        return of_labels.unflatten(2, region.shape[1:3])

    def by_attention(
        self, region: Float[Tensor, "image height width channel"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label attention"]:
        """What each attention would give a label."""
        return self.scored(self.trunk(region), words).by_attention.mT.float()


def parts(output: LesaOutput, codes: Int8[Tensor, "image label"], batch_images: int) -> LossParts:
    """The four parts of the loss.

    Args:
        output: of the network.
        codes: +1 present, -1 absent, 0 unknown.
        batch_images: of all processes; these may be those of one.

    `distribution` is the mean over images and attentions of the square of how many present labels an attention serves,
    softly counted. `against_mean` is the sum over images and known labels of how far the mean of all regions does
    better. `span` is the root of the sum over images of the squared cosines between the energies of two attentions.

    Source: LESA (CVPR 2020), its released code.
    """
    present = (codes == LabelCode.PRESENT).to(output.scores.dtype)
    served = (output.by_attention.softmax(dim=1) * present[:, None]).sum(dim=2)
    attentions = served.shape[1]
    losing = functional.relu((output.of_mean - output.scores) * codes.to(output.scores.dtype))
    return LossParts(
        ranking_loss(output.scores, codes, "released", batch_images),
        served.square().sum() / (batch_images * attentions),
        losing.sum(),
        _span(output.energies),
    )


def _span(energies: Float[Tensor, "image region attention"]) -> Float[Tensor, ""]:
    """The root of the squared cosines of all images; of one process its part, with its part of the gradient."""
    squares = energies.square().sum(dim=1, keepdim=True)
    directions = energies / squares.clamp(min=_LEAST_SQUARE).sqrt()
    cosines = directions.mT @ directions
    others = cosines - torch.diag_embed(cosines.diagonal(dim1=1, dim2=2))
    own = others.square().sum()
    whole = summed(own.detach().clone()).sqrt()
    # d sqrt(x) = dx / (2 sqrt(x)), and a process's part of the value is own / whole; at 0 the gradient is 0.
    half = own / (2 * whole) if whole > 0 else 0 * own
    return half + half.detach()
