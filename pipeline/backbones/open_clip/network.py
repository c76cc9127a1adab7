"""The network of an image tower: one pass gives the image's vector and those of its patches."""

from collections.abc import Collection
from typing import Any

from jaxtyping import Float
from torch import Tensor, cat, nn

from pipeline.backbones.tapped import TappedNetwork

_TOKENS = "tokens"  # the one step: maps of a tower do not come one from the other


class ImageTower(TappedNetwork):
    """An image tower.

    Args:
        visual: the tower, as open_clip has it.
        grid: rows and columns of patches.
        columns: maps that it gives.
    """

    def __init__(self, visual: nn.Module, grid: tuple[int, int], columns: Collection[str]) -> None:
        super().__init__({_TOKENS: JointTokens(visual, "patches" in columns)})
        self.grid, self.columns = grid, tuple(columns)
        self.eval()

    def forward(self, images: Float[Tensor, "image 3 height width"]) -> dict[str, Tensor]:
        """Maps by column: `patches` [image, row, column, size] and `pooled` [image, size]."""
        tokens = self.steps[_TOKENS](images)
        found = {"pooled": tokens[:, 0], "patches": tokens[:, 1:]}
        if "patches" in self.columns:
            found["patches"] = found["patches"].unflatten(1, self.grid)
        return {column: found[column] for column in self.columns}


class JointTokens(nn.Module):
    """Vectors in the space of the text tower, of an image and of its patches.

    Args:
        visual: as of `ImageTower`.
        patches: whether they are wanted.
    """

    def __init__(self, visual: nn.Module, patches: bool) -> None:
        super().__init__()
        self.visual: Any = visual
        self.patches = patches

    def forward(self, images: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image token size"]:
        """The image's vector as the first token, then those of the patches, row by row."""
        if not self.patches:
            found = self.visual(images)
            return (found[0] if isinstance(found, tuple) else found)[:, None]  # CoCa's gives its tokens, too
        # Tokens of the last block behind the last normalisation, without that of the class.
        found = self.visual.forward_intermediates(images, indices=1, normalize_intermediates=True, output_fmt="NLC")
        patches, proj = found["image_intermediates"][0], self.visual.proj
        return cat([found["image_features"][:, None], patches if proj is None else patches @ proj], dim=1)
