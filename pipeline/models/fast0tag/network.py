"""The network of Fast0Tag: three layers from the global feature to a direction in the space of words."""

from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.fast0tag import Fast0TagConfig
from pipeline.models.shared.input_norm import InputNorm
from pipeline.models.shared.precision import wide


class Fast0Tag(nn.Module):
    """Scores f(x) w of words w, with x the normalised feature.

    Args:
        settings: its norm, widths and dropout.
        size: elements of the feature.
        word_size: elements of a word vector.
    """

    def __init__(self, settings: Fast0TagConfig, size: int, word_size: int) -> None:
        super().__init__()
        first, second = settings.hidden_sizes
        self.input_norm = InputNorm(settings.input_norm, size)
        self.to_words = nn.Sequential(
            nn.Linear(size, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(second, word_size),
        )

    def forward(
        self, feature: Float[Tensor, "image feature"], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"]:
        """Score of each label in each image, float32."""
        return wide(self.to_words(self.input_norm(feature)) @ words.T)
