"""The network of SDL: one linear layer, whose output is a matrix of vectors in the space of words."""

from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.sdl import SdlConfig
from pipeline.models.shared.input_norm import InputNorm
from pipeline.models.shared.precision import wide


class Sdl(nn.Module):
    """Scores max over the rows r of A_r w of words w, with A the vectors of an image, linear in the normalised feature.

    Args:
        settings: the norm of the feature, and how many vectors there are.
        size: elements of the feature.
        word_size: elements of a word vector.
    """

    def __init__(self, settings: SdlConfig, size: int, word_size: int) -> None:
        super().__init__()
        self.shape = word_size, settings.rows
        self.input_norm = InputNorm(settings.input_norm, size)
        self.to_vectors = nn.Linear(size, word_size * settings.rows, bias=False)

    def forward(
        self, feature: Float[Tensor, "image ..."], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"] | tuple[Float[Tensor, "image label"], Float[Tensor, "image word row"]]:
        """Score of each label in each image, float32; in training the vectors, too."""
        vectors = self.to_vectors(self.input_norm(feature)).unflatten(1, self.shape)
        scores = wide((words @ vectors).amax(dim=2))
        return (scores, vectors) if self.training else scores
