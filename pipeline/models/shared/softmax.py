"""Cross-entropy of all labels of an image together: what its own labels gain, the others lose."""

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from pipeline.models.shared.precision import long_type, wide
from schemas.status import LabelCode


def softmax_loss(
    scores: Float[Tensor, "image label"],
    codes: Int8[Tensor, "image label"],
    weights: Float[Tensor, "label"],
    batch_images: int | None = None,
) -> Float[Tensor, ""]:
    """The cross-entropy between the softmax over an image's known labels and its present ones; the mean over images.

    Args:
        scores: of any float type; the sum over images runs in float64.
        codes: +1 present, -1 absent, 0 unknown (in no softmax). An image without a present label counts 0.
        weights: above 0; the present labels of an image share 1 by them.
        batch_images: size of the whole batch where these are the images of one process: its part of the loss then comes
            back, and the parts add up. None for all.
    """
    present = codes == LabelCode.PRESENT
    shares = present * weights
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
    logits = wide(scores).masked_fill(codes == LabelCode.UNKNOWN, -torch.inf)
    each = (shares * logits.log_softmax(dim=1).masked_fill(~present, 0)).sum(dim=1)
    return -(each.sum(dtype=long_type(each.device)) / (batch_images or len(scores))).to(scores.dtype)
