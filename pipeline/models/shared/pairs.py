"""Losses over pairs of labels of an image: softplus(s_n - s_p) for a label n that should score below a label p.

Neither holds a [image, label, label] tensor. A block of present cells at a time meets all labels of its images; what
stays of it is the slope of the sum in each cell. softplus(t) = log(1 + e^t) overflows nowhere.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pipeline.models.shared import cells
from pipeline.models.shared.diversity import DiversityConfig
from pipeline.models.shared.precision import long, long_type, wide
from pipeline.models.shared.processes import summed
from schemas.status import LabelCode


def ranknet_loss(
    scores: Float[Tensor, "image label"], codes: Int8[Tensor, "image label"], batch_images: int | None = None
) -> Float[Tensor, ""]:
    """The mean over images of the mean over an image's pairs of a present and an absent label; 0 where it has none.

    Args:
        scores: of any float type; sums run in float64.
        codes: +1 present, -1 absent, 0 unknown (in no pair).
        batch_images: size of the whole batch where these are the images of one process: its part of the loss then comes
            back, and the parts add up. None for all.

    After Zhang, Gong and Shah, "Fast Zero-Shot Image Tagging", CVPR 2016.
    """
    present, absent = codes == LabelCode.PRESENT, codes == LabelCode.ABSENT
    pairs = present.sum(dim=1) * absent.sum(dim=1)
    each = pair_sums(scores, present, absent) / pairs.clamp(min=1)
    return (each.sum() / (batch_images or len(scores))).to(wide(scores).dtype)


def sdl_loss(
    scores: Float[Tensor, "image label"],
    vectors: Float[Tensor, "image word row"],
    codes: Int8[Tensor, "image label"],
    words: Float[Tensor, "label word"],
    settings: DiversityConfig,
) -> Float[Tensor, ""]:
    """The loss of SDL, a mean over those images of the whole batch, over all processes, that bear a label.

    Of an image with the positive labels P and the other ones N, where l is `variance_weight`:
    2 [(1 - l) (omega / |P|) sum over p, n of softplus(s_n - s_p) + l sum over elements of the variance among its rows].
    omega is 1 + the sum over elements of the variance among the words of P, 0 for a single one. An image without N has
    softplus(-s_p) in place of its pairs. Variances are unbiased, and 0 of a single row.

    Args:
        scores: of any float type; sums run in float64.
        vectors: the rows of an image, from which its scores are computed.
        codes: +1 present, -1 absent, 0 unknown (which `settings.unknown` is about).
        words: l2-normalised.
        settings: of a model.

    Returns:
        The part of the images given: the parts of all processes add up.

    Source: Ben-Cohen et al., "Semantic Diversity Learning for Zero-Shot Multi-label Classification", ICCV 2021, and the
        code released with it.
    """
    present = codes == LabelCode.PRESENT
    others = codes == LabelCode.ABSENT if settings.unknown == "ignore" else ~present
    positives = present.sum(dim=1)
    # A label with the score 0 stands in for what an image without other labels lacks.
    stand_in = ~others.any(dim=1, keepdim=True)
    padded, others = functional.pad(scores, (0, 1)), torch.cat([others, stand_in], dim=1)
    sums = pair_sums(padded, functional.pad(present, (0, 1)), others)
    if settings.mean_negatives:
        sums = sums / others.sum(dim=1)
    pairs = _diversity(present, words) * sums / positives.clamp(min=1)
    each = 2 * ((1 - settings.variance_weight) * pairs + settings.variance_weight * _spread(vectors))
    images = summed((positives > 0).sum())
    return ((each * (positives > 0)).sum() / images.clamp(min=1)).to(wide(scores).dtype)


def pair_sums(
    scores: Float[Tensor, "image label"], present: Bool[Tensor, "image label"], others: Bool[Tensor, "image label"]
) -> Float[Tensor, " image"]:
    """Of each image: the sum over its present labels p and its other ones n of softplus(s_n - s_p).

    Time grows with present cells x labels; memory does not.
    """
    sums: Tensor = _PairSums.apply(wide(scores), present, others)
    return sums


class _PairSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: Float[Tensor, "image label"],
        present: Bool[Tensor, "image label"],
        others: Bool[Tensor, "image label"],
    ) -> Float[Tensor, " image"]:
        sums = torch.zeros(len(scores), dtype=long_type(scores.device), device=scores.device)
        slopes = torch.zeros_like(scores)
        compared = scores.masked_fill(~others, -torch.inf)  # softplus and its slope are 0 there
        for image, label in cells.blocks(present):
            gaps = compared[image] - scores[image, label].unsqueeze(1)
            sums.index_add_(0, image, functional.softplus(gaps).sum(dim=1, dtype=sums.dtype))
            slope = gaps.sigmoid_()
            slopes.index_add_(0, image, slope)
            slopes[image, label] = -slope.sum(dim=1)
        ctx.save_for_backward(slopes)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, " image"]) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * gradient.to(slopes.dtype).unsqueeze(1), None, None


def _diversity(present: Bool[Tensor, "image label"], words: Float[Tensor, "label word"]) -> Float[Tensor, " image"]:
    """1 + the sum over elements of the variance among the words of an image's labels."""
    bearing, exact = long(present), long(words)
    labels = bearing.sum(dim=1)
    squares = bearing @ exact.square().sum(dim=1) - (bearing @ exact).square().sum(dim=1) / labels.clamp(min=1)
    return 1 + (squares / (labels - 1).clamp(min=1)).clamp(min=0)


def _spread(vectors: Float[Tensor, "image word row"]) -> Float[Tensor, " image"]:
    """The sum over elements of the variance among an image's rows."""
    if vectors.shape[2] == 1:
        return vectors.new_zeros(len(vectors))
    return wide(vectors).var(dim=2).sum(dim=1)
