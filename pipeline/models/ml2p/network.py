"""(ML)2P: maps become groups of channels, which attend to each other, and each group gives a vector among the words."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.ml2p import Ml2pConfig
from pipeline.models.shared.norm import BatchNorm

_SIDE = 7  # rows and columns that all maps are pooled to
_PYRAMID_CHANNELS = (512, 512, 1024)  # of the three maps behind their convolutions
_REGION_CHANNELS = (2048,)


class Ml2p(nn.Module):
    """A score is the largest over all vectors of an image of its product with a label's word.

    Args:
        channels: of each map that is read.
        word_size: elements of a word vector.
        settings: `maps`, `groups`, `reading`, `residual`, `shrink`.

    Symbols: groups -> G, word -> V, positions -> 49.
    """

    def __init__(self, channels: list[int], word_size: int, settings: Ml2pConfig) -> None:
        super().__init__()
        groups, out = settings.groups, _PYRAMID_CHANNELS if settings.maps == "pyramid" else _REGION_CHANNELS
        self.transforms = nn.ModuleList(map(Transform, channels, out))
        self.embed = nn.Conv2d(sum(out), groups * word_size, kernel_size=1)
        self.encoder = Encoder(groups, word_size, _SIDE**2, settings)
        self.interleaved = settings.reading == "interleaved"

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Scores [image, label], float32, of the maps and the words; in training with the vectors, too.

        Args:
            inputs: maps [image, height, width, channel] as `needs` names them, then words [label, word].
        """
        *maps, words = inputs
        pooled = [transform(values) for transform, values in zip(self.transforms, maps, strict=True)]
        vectors = self.vectors(self.encoder(self.embed(torch.cat(pooled, dim=1))))
        scores = best_scores(vectors, words.float())
        return (scores, vectors.mT) if self.training else scores

    def vectors(self, grouped: Float[Tensor, "image group word"]) -> Float[Tensor, "image vector word"]:
        """The vectors that labels are compared with, one a group.

        Source: the released code reads the numbers of [group, word] as [word, group], so that each vector takes from
        all groups; the slides have one vector a group.
        """
        if self.interleaved:
            return grouped.reshape(len(grouped), grouped.shape[2], grouped.shape[1]).mT
        return grouped


class Transform(nn.Module):
    """A 1x1 convolution, batch normalisation and ReLU, then the largest of each cell of a 7x7 grid."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel_size=1, bias=False)
        self.norm = BatchNorm(out, eps=1e-5, momentum=0.01)

    def forward(self, values: Float[Tensor, "image height width channel"]) -> Float[Tensor, "image out 7 7"]:
        """The map on the grid."""
        by_channel = values.to(self.conv.weight.dtype).contiguous().permute(0, 3, 1, 2)
        return functional.adaptive_max_pool2d(functional.relu(self.norm(self.conv(by_channel))), _SIDE)


class Encoder(nn.Module):
    """From groups of channels to a vector for each group."""

    def __init__(self, groups: int, word_size: int, positions: int, settings: Ml2pConfig) -> None:
        super().__init__()
        self.groups, self.residual = groups, settings.residual
        self.attention = ChannelAttention(groups, word_size)
        self.token_norm, self.channel_norm = nn.LayerNorm(word_size), nn.LayerNorm(word_size)
        self.token_mlp = mlp(positions, max(1, positions // settings.shrink))
        self.channel_mlp = mlp(word_size, max(1, word_size // settings.shrink))
        self.query, self.key = mlp(word_size, word_size), mlp(word_size, word_size)

    def forward(self, embedded: Float[Tensor, "image channel row column"]) -> Float[Tensor, "image group word"]:
        """The vectors, before they are read."""
        shuffled = embedded.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        tokens = self.attention(shuffled)
        if self.residual:
            tokens = tokens + shuffled.flatten(2).unflatten(1, (self.groups, -1))
        return self.grouped(self.encoded(tokens))

    def encoded(self, tokens: Float[Tensor, "image group word position"]) -> Float[Tensor, "image group word"]:
        """Positions mixed, then channels; of each channel the largest over the positions, between 0 and 1."""
        mixed = tokens.mT
        mixed = mixed + self.token_mlp(self.token_norm(mixed).mT).mT
        mixed = mixed + self.channel_mlp(self.channel_norm(mixed))
        return mixed.amax(dim=2).sigmoid()

    def grouped(self, encoded: Float[Tensor, "image group word"]) -> Float[Tensor, "image group word"]:
        """Groups weighted by each other. The product is cubic in its input: it stays in float32 at least."""
        with torch.autocast(encoded.device.type, enabled=False):
            values = encoded if encoded.dtype == torch.float64 else encoded.float()
            return (self.query(values) @ self.key(values).mT) @ values


class ChannelAttention(nn.Module):
    """Channels of a group attend to each other, by how alike they are over the positions."""

    def __init__(self, groups: int, word_size: int) -> None:
        super().__init__()
        channels = groups * word_size
        self.groups = groups
        self.project = nn.Conv2d(channels, 3 * channels, kernel_size=1)
        self.spread = nn.Conv2d(3 * channels, 3 * channels, kernel_size=3, padding=1, groups=3 * channels)
        self.temperature = nn.Parameter(torch.ones(groups, 1, 1))

    def forward(
        self, shuffled: Float[Tensor, "image channel row column"]
    ) -> Float[Tensor, "image group word position"]:
        """What each channel takes from those of its group."""
        projected = self.spread(self.project(shuffled)).flatten(2)
        query, key, value = (part.unflatten(1, (self.groups, -1)) for part in projected.chunk(3, dim=1))
        alike = functional.normalize(query, dim=3) @ functional.normalize(key, dim=3).mT
        return (alike * self.temperature).softmax(dim=3) @ value


def mlp(size: int, hidden: int) -> nn.Sequential:
    """Two layers with a GELU between them, from `size` to `size`."""
    return nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, size))


def best_scores(
    vectors: Float[Tensor, "image vector word"], words: Float[Tensor, "label word"]
) -> Float[Tensor, "image label"]:
    """The largest product of any vector of an image with each label's word."""
    return (vectors @ words.to(vectors.dtype).T).amax(dim=1)
