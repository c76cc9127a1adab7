"""Hinges between labels of an image, each present label's weighted by how many absent ones violate its margin.

As in the ranking loss of BiAM, the loss is linear in the scores as long as the same pairs violate, so that a weighted
count of the violating pairs of each cell is all it takes.
"""

from typing import Literal

import torch
from jaxtyping import Float, Float64, Int8
from torch import Tensor

from pipeline.models.shared import cells
from pipeline.models.shared.precision import long, long_type, wide
from schemas.status import LabelCode

Weighting = Literal["harmonic", "mean-harmonic", "uniform"]


def rank_weighted_loss(
    scores: Float[Tensor, "image label"],
    codes: Int8[Tensor, "image label"],
    weighting: Weighting,
    batch_images: int | None = None,
) -> Float[Tensor, ""]:
    """How far absent labels score above 1 below a present one; the mean over images of the sum over present labels.

    A pair of a present label p and an absent one n violates where 1 + s_n - s_p > 0; r is the number of those of p.

    Args:
        scores: of any float type; the sum runs in float64.
        codes: +1 present, -1 absent, 0 unknown (in no pair).
        weighting: of the violations of a present label: H(r) = 1 + 1/2 + ... + 1/r (`harmonic`), H(r) / r
            (`mean-harmonic`), or 1 (`uniform`).
        batch_images: size of the whole batch where these are the images of one process: its part of the loss then comes
            back, and the parts add up. None for all.

    Returns:
        The loss, float32 at least, differentiable with respect to the scores. Ranks and weights count as constants.

    `harmonic` is after Gong et al., "Deep Convolutional Ranking for Multilabel Image Annotation", 2013, where ranks are
    estimated by sampling; here they are counted. `mean-harmonic` is after Akata et al., "Label-Embedding for
    Attribute-Based Classification", CVPR 2013.
    """
    counts = _weighted_violations(scores.detach(), codes, weighting)
    margins = counts.clamp(min=0).sum(dim=1)
    sums = margins + (counts * long(scores)).sum(dim=1)
    loss = sums.sum() / (batch_images or len(scores))
    return loss.to(wide(scores).dtype)


def harmonic_numbers(most: int) -> Float64[Tensor, " number"]:
    """H(0) = 0, H(1) = 1, H(2) = 1 + 1/2, ..., H(most)."""
    numbers = torch.arange(most + 1, dtype=torch.float64)
    return torch.where(numbers > 0, 1 / numbers, 0).cumsum(dim=0)


def _weighted_violations(
    scores: Float[Tensor, "image label"], codes: Int8[Tensor, "image label"], weighting: Weighting
) -> Float[Tensor, "image label"]:
    """The sum of the weights of the violating pairs of each cell: positive for absent labels, negated for present ones.

    Time grows with present cells x labels; memory does not.
    """
    counts = torch.zeros(scores.shape, dtype=long_type(scores.device), device=scores.device)
    weights = _weights(weighting, scores.shape[1]).to(counts)
    raised = (1 + scores).masked_fill(codes != LabelCode.ABSENT, -torch.inf)
    for image, label in cells.blocks(codes == LabelCode.PRESENT):
        violating = raised[image] > scores[image, label].unsqueeze(1)
        rank = violating.sum(dim=1)
        counts.index_add_(0, image, violating * weights[rank].unsqueeze(1))
        counts[image, label] = -rank * weights[rank]
    return counts


def _weights(weighting: Weighting, most: int) -> Float64[Tensor, " rank"]:
    """By rank; of rank 0 nothing depends."""
    harmonic = harmonic_numbers(most)
    match weighting:
        case "harmonic":
            return harmonic
        case "mean-harmonic":
            return harmonic / torch.arange(most + 1).clamp(min=1)
        case "uniform":
            return torch.ones_like(harmonic)
