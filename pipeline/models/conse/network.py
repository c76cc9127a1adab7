"""The network of ConSE: a logistic regression of the seen labels, and the mean word of the most probable ones."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pipeline.models.conse import ConseConfig
from pipeline.models.shared.label_head import LabelHead
from pipeline.models.shared.precision import long_type

_LEAST_SUM = 1e-10  # of the probabilities: with less an image is not placed among the words, and all scores are 0


class Conse(LabelHead):
    """Log-odds of the seen labels in training; in evaluation the scores of any labels.

    Args:
        settings: the norm of the feature, and how many labels are mixed.
        size: elements of the feature.
        labels: that are seen.
        word_size: elements of a word vector.

    Attributes:
        seen_words: [seen, word], once they are fitted.
    """

    seen_words: Tensor

    def __init__(self, settings: ConseConfig, size: int, labels: int, word_size: int) -> None:
        super().__init__(settings.input_norm, size, labels)
        self.mixed_labels = settings.mixed_labels
        self.register_buffer("seen_words", torch.zeros(labels, word_size))

    def forward(
        self, feature: Float[Tensor, "image ..."], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"]:
        """Float32, as the class says."""
        logits = super().forward(feature, words)
        return logits if self.training else conse_scores(logits, self.seen_words, words, self.mixed_labels)


def conse_scores(
    logits: Float[Tensor, "image seen"],
    seen_words: Float[Tensor, "seen word"],
    words: Float[Tensor, "label word"],
    mixed_labels: int,
) -> Float[Tensor, "image label"]:
    """The cosine of each word with the mean word of an image's best seen labels, weighted by their probabilities.

    They are best by their log-odds, which tell them apart where probabilities round to 1; of equal ones the first
    counts as better. Sums run in float64 where the device has it.

    Source: Norouzi et al., ICLR 2014. Differs: a probability is a label's own, not one among all labels.
    """
    exact = long_type(logits.device)
    best = logits.sort(dim=1, descending=True, stable=True).indices[:, :mixed_labels]
    probabilities = logits.to(exact).sigmoid()
    weights = torch.zeros_like(probabilities).scatter_(1, best, probabilities.gather(1, best))
    sums = weights.sum(dim=1, keepdim=True)
    mean_words = (weights @ seen_words.to(exact)) / sums.clamp(min=_LEAST_SUM)
    cosines = functional.normalize(mean_words, dim=1) @ functional.normalize(words.to(exact), dim=1).T
    return cosines.masked_fill(sums < _LEAST_SUM, 0).to(logits.dtype)
