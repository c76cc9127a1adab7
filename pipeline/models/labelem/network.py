"""The network of LabelEM: one matrix."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.shared.input_norm import InputNorm
from pipeline.models.shared.input_settings import Norm
from pipeline.models.shared.precision import wide


class LabelEm(nn.Module):
    """Scores x' W w of words w, with x the normalised feature.

    Args:
        norm: of the feature.
        size: elements of the feature.
        word_size: elements of a word vector.

    Attributes:
        matrix: [feature, word], W; at first normal, with the deviation 1 / sqrt(feature), that of fc7 is 1/64.
    """

    def __init__(self, norm: Norm, size: int, word_size: int) -> None:
        super().__init__()
        self.input_norm = InputNorm(norm, size)
        self.matrix = nn.Parameter(torch.randn(size, word_size) / size**0.5)

    def forward(
        self, feature: Float[Tensor, "image feature"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"]:
        """Score of each label in each image, float32."""
        return wide(self.input_norm(feature) @ self.matrix @ words.T)
