"""The network of the ridge regression: a linear map of the standardised feature, and what compares it with words."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pipeline.machine.device import one_thread
from pipeline.models.ridge.settings import RidgeConfig
from pipeline.models.shared.precision import long_type
from pipeline.models.sizes import FeatureSizes

_POOLED = 8  # images


class Ridge(nn.Module):
    """Scores words by what a feature was regressed to. All its buffers are fitted; none is learnt by steps.

    Args:
        settings: form, and how many labels form `conse` mixes.
        size: elements of the feature.

    How many targets and seen labels there are is known only when the buffers are put in.

    Attributes:
        mean: [feature], over the training images.
        deviation: [feature], the same; 1 where it is 0.
        weights: [feature, target]; targets are seen labels in form `conse`, else elements of a word vector.
        offset: [target].
        seen_words: [label, word], the labels that form `conse` mixes; [0, word] elsewhere.
    """

    mean: Tensor
    deviation: Tensor
    weights: Tensor
    offset: Tensor
    seen_words: Tensor

    def __init__(self, settings: RidgeConfig, size: int, word_size: int) -> None:
        super().__init__()
        self.form, self.mixed_labels = settings.form, settings.mixed_labels
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.register_buffer("weights", torch.zeros(size, word_size))
        self.register_buffer("offset", torch.zeros(word_size))
        self.register_buffer("seen_words", torch.zeros(0, word_size))

    def forward(
        self, feature: Float[Tensor, "image ..."], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"]:
        """Score of each label in each image, float32.

        Sums run in float64 where the device has it.

        Args:
            feature: [image, feature], or [image, height, width, feature], of which the mean counts.
            words: l2-normalised.
        """
        wide = long_type(feature.device)
        standardised = (pooled(feature).to(wide) - self.mean.to(wide)) / self.deviation.to(wide)
        regressed = standardised @ self.weights.to(wide) + self.offset.to(wide)
        return scores(self.form, regressed, self.seen_words.to(wide), words.to(wide), self.mixed_labels).float()


def pooled(feature: Float[Tensor, "image ..."]) -> Float[Tensor, "image feature"]:
    """The feature, or the mean over the regions of a map, in float32 at least."""
    if feature.ndim == 2:
        return feature
    # A few images at a time: in float32 they stay in a CPU's caches. Other threads read the next ones meanwhile.
    with one_thread():
        return torch.cat([part.float().flatten(1, -2).mean(dim=1) for part in feature.split(_POOLED)])


def scores(
    form: str,
    regressed: Float[Tensor, "image target"],
    seen_words: Float[Tensor, "seen word"],
    words: Float[Tensor, "label word"],
    mixed_labels: int,
) -> Float[Tensor, "image label"]:
    """What an image was regressed to, compared with words.

    `devise`: its cosine with each. `conse`: the best labels, negative ones as 0, are the weights of their vectors, and
    the cosine of the sum counts. `eszsl`: its product with each.

    Source: Frome et al., "DeViSE", NeurIPS 2013; Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic
    Embeddings", ICLR 2014; Romera-Paredes and Torr, "An embarrassingly simple approach to zero-shot learning", ICML
    2015. Differs: the regression is linear, in place of a network or of a softmax over classes.
    """
    if form == "eszsl":
        return regressed @ words.T
    if form == "conse":
        best = regressed.topk(min(mixed_labels, regressed.shape[1]), dim=1)
        mixed = torch.zeros_like(regressed).scatter_(1, best.indices, best.values.clamp(min=0))
        regressed = mixed @ seen_words
    return functional.normalize(regressed, dim=1) @ functional.normalize(words, dim=1).T


def build(settings: RidgeConfig, sizes: FeatureSizes) -> Ridge:
    """A network without anything fitted yet."""
    return Ridge(settings, sizes.maps[settings.feature], sizes.word_size)
