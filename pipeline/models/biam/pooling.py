"""Scores of labels from their best regions, without holding the responses of all labels at all regions of a batch."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Responses worked out at once. On a CPU one image of NUS-WIDE (925 labels x 196 regions), which stays in the cache;
# elsewhere 256 MiB of float32: 32 images in 1 block there, and of Open Images (7,186 labels) in 1 too.
_CELLS_AT_ONCE = {"cpu": 1 << 18}
_CELLS_AT_ONCE_ELSEWHERE = 1 << 26


def top_k_scores(
    regions: Float[Tensor, "image joint region"], labels: Float[Tensor, "label joint"], top_k: int
) -> Float[Tensor, "image label"]:
    """Mean of each label's `top_k` largest responses among the regions of an image, float32.

    A batch of 32 images and 925 labels holds 23 MB of responses, and as much again for their gradient, of which 3 % are
    not zero; here one image's at a time. Source: BiAM (ICCV 2021), section 2.3 and equation 1.
    """
    scores: Tensor = _TopKScores.apply(regions, labels, top_k)
    return scores


class _TopKScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, regions: Float[Tensor, "image joint region"], labels: Float[Tensor, "label joint"], top_k: int
    ) -> Float[Tensor, "image label"]:
        best = torch.empty(len(regions), len(labels), top_k, dtype=torch.int64, device=regions.device)
        scores = torch.empty(len(regions), len(labels), device=regions.device)
        for images in _image_blocks(regions, labels):
            values, best[images] = (labels @ regions[images]).topk(top_k, dim=2, sorted=False)
            scores[images] = values.float().mean(dim=2)
        ctx.save_for_backward(regions, labels, best)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "image label"]) -> tuple[Tensor, Tensor, None]:
        regions, labels, best = ctx.saved_tensors
        region_gradient = torch.empty_like(regions)
        label_gradient = torch.zeros(labels.shape, device=labels.device)
        share = (gradient / best.shape[2]).to(regions.dtype)
        for images in _image_blocks(regions, labels):
            slopes = _spread(share[images], best[images], regions.shape[2])
            region_gradient[images] = (slopes.mT @ labels).mT
        for image in range(len(regions)):
            label_gradient += _gathered(regions[image].T, best[image], share[image])
        return region_gradient, label_gradient.to(labels.dtype), None


def _image_blocks(
    regions: Float[Tensor, "image joint region"], labels: Float[Tensor, "label joint"]
) -> Iterator[slice]:
    cells = _CELLS_AT_ONCE.get(regions.device.type, _CELLS_AT_ONCE_ELSEWHERE)
    images = max(1, cells // max(1, len(labels) * regions.shape[2]))
    for start in range(0, len(regions), images):
        yield slice(start, start + images)


def _gathered(
    regions: Float[Tensor, "region joint"], best: Int[Tensor, "label top"], share: Float[Tensor, " label"]
) -> Float[Tensor, "label joint"]:
    """The sum of each label's best regions, times its share: 6 rows of 196, instead of a product with all."""
    weights = share[:, None].expand(best.shape).contiguous()
    summed: Tensor = functional.embedding_bag(best, regions.contiguous(), mode="sum", per_sample_weights=weights)
    return summed


def _spread(
    share: Float[Tensor, "image label"], best: Int[Tensor, "image label top"], regions: int
) -> Float[Tensor, "image label region"]:
    """The gradient of the responses: that of the score at the best regions, zero elsewhere."""
    slopes = torch.zeros(*share.shape, regions, dtype=share.dtype, device=share.device)
    return slopes.scatter_(2, best, share[:, :, None].expand(best.shape))
