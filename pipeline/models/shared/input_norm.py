"""Global features on one scale, before a linear map reads them."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.fitting import Fitting
from pipeline.models.shared.input_settings import Norm
from pipeline.models.shared.precision import long_type, wide

_LEAST_NORM = 1e-12  # what a feature with a smaller norm is divided by: zeros stay zeros


class InputNorm(nn.Module):
    """A feature, or the mean over the regions of a map, as `model.input_norm` says.

    Args:
        norm: `none`: as it is; `l2`: of norm 1; `centred`: less the mean over the training images, then of norm 1.
        size: elements of the feature.

    Attributes:
        mean: [feature], that of the training images once it is fitted; only where the norm is `centred`.
    """

    mean: Tensor

    def __init__(self, norm: Norm, size: int) -> None:
        super().__init__()
        self.norm = norm
        if norm == "centred":
            self.register_buffer("mean", torch.zeros(size))

    def forward(self, feature: Float[Tensor, "image ..."]) -> Float[Tensor, "image feature"]:
        """[image, feature], float32, of [image, feature] or [image, height, width, feature]."""
        values = of_regions(feature)
        if self.norm == "none":
            return values
        if self.norm == "centred":
            values = values - self.mean
        return functional.normalize(values, dim=1, eps=_LEAST_NORM)


def of_regions(feature: Float[Tensor, "image ..."]) -> Float[Tensor, "image feature"]:
    """The feature, or the mean over the regions of a map, in float32 at least."""
    values = wide(feature)
    return values if values.ndim == 2 else values.flatten(1, -2).mean(dim=1)


def training_mean(features: Iterable[Float[Tensor, "image ..."]]) -> Float[Tensor, " feature"]:
    """The mean over all images, float32, summed in float64; there is one image at least."""
    sums, images = [], 0
    for feature in features:
        values = of_regions(feature)
        sums.append(values.sum(dim=0, dtype=long_type(values.device)))
        images += len(values)
    return (torch.stack(sums).sum(dim=0) / images).float()


def fitted_mean(norm: Norm, fitting: Fitting) -> dict[str, Tensor]:
    """What an `InputNorm` that a network has as its `input_norm`, for its first map, wants of the training images."""
    if norm != "centred":
        return {}
    return {"input_norm.mean": training_mean(maps[0] for maps, _ in fitting.train())}
