"""The ranking loss of BiAM, without ever holding a [image, label, label] tensor.

A pair (n, p) of an absent and a present label of one image violates when 1 + s_n - s_p > 0. As long as the same pairs
violate, the loss is linear in the scores: a sum of 1 + s_n - s_p over those pairs. So all it takes is, for each cell,
the number of violating pairs it is part of. Those are counted without gradients, and the gradient follows by itself.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from pipeline.models.shared import cells
from pipeline.models.shared.precision import long
from schemas.status import LabelCode

Form = Literal["paper", "released"]

# The released denominator; without it an image where no pair violates would be 0/0.
_EPSILON = 1e-8


def ranking_loss(
    scores: Float[Tensor, "image label"],
    codes: Int8[Tensor, "image label"],
    form: Form,
    batch_images: int | None = None,
) -> Float[Tensor, ""]:
    """How far present labels fail to score at least 1 above absent ones; 0 when all do.

    Args:
        scores: of any float type; the sum runs in float64.
        codes: +1 present, -1 absent, 0 unknown (in no pair).
        form: `paper` sums over all pairs and images; `released` divides each image's sum by the number of its violating
            pairs and takes the mean over all images, those without a pair included.
        batch_images: size of the whole batch where these are the images of one process: its part of the loss then comes
            back, and the parts add up. None for all.

    Returns:
        The loss in the type of `scores`, differentiable with respect to them. The number of violating pairs counts as a
        constant.

    Source: BiAM (ICCV 2021), equation 10.
    Differs from the paper: labels of unknown state are not counted as absent. (The released form looks only at columns
        with a known cell in the batch, which gives the same pairs, however the batch is shared out among processes.)
    """
    counts = long(_violations(scores.detach(), codes))
    pairs = counts.clamp(min=0).sum(dim=1)
    sums = pairs + (counts * long(scores)).sum(dim=1)
    loss = sums.sum() if form == "paper" else (sums / (pairs + _EPSILON)).sum() / (batch_images or len(scores))
    return loss.to(scores.dtype)


def _violations(scores: Float[Tensor, "image label"], codes: Int8[Tensor, "image label"]) -> Int[Tensor, "image label"]:
    """Number of violating pairs each cell is part of: positive for absent labels, negated for present ones, else 0.

    Time grows with present cells x labels; memory does not (beyond one row of labels for each image).
    """
    counts = torch.zeros(scores.shape, dtype=torch.int32, device=scores.device)
    # Exact: rounded or not, 1 + s_n - s_p is positive just when 1 + s_n is more than s_p.
    raised = (1 + scores).masked_fill(codes != LabelCode.ABSENT, -torch.inf)
    for image, label in cells.blocks(codes == LabelCode.PRESENT):
        violating = raised[image] > scores[image, label].unsqueeze(1)
        counts.index_add_(0, image, violating.to(counts.dtype))
        counts[image, label] = -violating.sum(dim=1, dtype=counts.dtype)
    return counts
