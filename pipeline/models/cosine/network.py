"""The network of the cosine, without weights."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Cosine(nn.Module):
    """Scores words by their cosine with the image's vector."""

    def forward(
        self, whole: Float[Tensor, "image size"], words: Float[Tensor, "label size"]
    ) -> Float[Tensor, "image label"]:
        """Score of each label in each image, float32."""
        return cosines(whole, words)


def cosines(vectors: Float[Tensor, "*image size"], words: Float[Tensor, "label size"]) -> Float[Tensor, "*image label"]:
    """The cosine of each vector with each word, in float32; 0 where one has no direction."""
    return functional.normalize(vectors.float(), dim=-1) @ functional.normalize(words.float(), dim=-1).T
