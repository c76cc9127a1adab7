"""A linear map from a feature to labels that have weights of their own, and the loss of a logistic regression."""

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.fitting import Fitting
from pipeline.models.shared.input_norm import InputNorm, fitted_mean
from pipeline.models.shared.input_settings import Norm
from pipeline.models.shared.precision import long_type, wide
from schemas.status import LabelCode


class LabelHead(nn.Module):
    """Scores W x + offset + prior, with x the normalised feature.

    Args:
        norm: of the feature.
        size: elements of the feature.
        labels: that it learns.

    Attributes:
        weight: [label, feature], W; 0 at first.
        offset: [label]; 0 at first.
        prior: [label], once it is fitted the log-odds of meeting the label in a training image.
    """

    prior: Tensor

    def __init__(self, norm: Norm, size: int, labels: int) -> None:
        super().__init__()
        self.input_norm = InputNorm(norm, size)
        self.weight = nn.Parameter(torch.zeros(labels, size))
        self.offset = nn.Parameter(torch.zeros(labels))
        self.register_buffer("prior", torch.zeros(labels))

    def forward(
        self, feature: Float[Tensor, "image ..."], words: Float[Tensor, "seen word"]
    ) -> Float[Tensor, "image seen"]:
        """Score of each label that it learns, in their order, float32; the words do not count."""
        del words
        return wide(functional.linear(self.input_norm(feature), self.weight, self.offset)) + self.prior


def fitted_head(norm: Norm, fitting: Fitting) -> dict[str, Tensor]:
    """The buffers of a head: each label's log-odds in the training images, with one image more of each kind."""
    odds = (fitting.present + 1).double() / (fitting.absent + 1)
    return fitted_mean(norm, fitting) | {"prior": odds.log().float()}


def logistic_loss(
    scores: Float[Tensor, "image label"], codes: Int8[Tensor, "image label"], batch_images: int | None = None
) -> Float[Tensor, ""]:
    """The cross-entropy of each label by itself, summed over the known ones; the mean over images.

    Args:
        scores: log-odds, of any float type; the sum runs in float64.
        codes: +1 present, -1 absent, 0 unknown (which does not count).
        batch_images: size of the whole batch where these are the images of one process: its part of the loss then comes
            back, and the parts add up. None for all.
    """
    scores = wide(scores)
    each = functional.softplus(-codes * scores).masked_fill(codes == LabelCode.UNKNOWN, 0)
    return (each.sum(dtype=long_type(each.device)) / (batch_images or len(scores))).to(scores.dtype)
