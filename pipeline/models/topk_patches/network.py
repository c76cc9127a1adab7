"""The network of the best regions' cosines, and how their share is chosen."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.cosine.network import cosines
from pipeline.models.fitting import Fitted, Fitting, Maps
from pipeline.models.topk_patches import TopkPatchesConfig
from schemas.command import Command
from schemas.errors import UsageError

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_CELLS = 2**24  # cosines of regions and labels at a time: 64 MB


class TopkPatches(nn.Module):
    """Scores words by their cosines with regions and image.

    Attributes:
        global_share: of the image's cosine; fitted.
    """

    global_share: Tensor

    def __init__(self, settings: TopkPatchesConfig) -> None:
        super().__init__()
        self.top_k = settings.top_k
        self.register_buffer("global_share", torch.zeros(()))

    def forward(
        self,
        regions: Float[Tensor, "image height width size"],
        whole: Float[Tensor, "image size"],
        words: Float[Tensor, "label size"],
    ) -> Float[Tensor, "image label"]:
        """Score of each label in each image, float32."""
        return mixed(self.global_share, best_regions(regions, words, self.top_k), cosines(whole, words))

    def response_maps(
        self,
        regions: Float[Tensor, "image height width size"],
        whole: Float[Tensor, "image size"],
        words: Float[Tensor, "label size"],
    ) -> Float[Tensor, "image label height width"]:
        """The cosine of each label with each region."""
        del whole
        return cosines(regions, words).permute(0, 3, 1, 2)


def best_regions(
    regions: Float[Tensor, "image height width size"], words: Float[Tensor, "label size"], top_k: int
) -> Float[Tensor, "image label"]:
    """The mean of the largest cosines of each label with regions, a few images at a time."""
    flat = regions.flatten(1, 2)
    count = min(top_k, flat.shape[1])
    images = max(1, _CELLS // max(1, flat.shape[1] * len(words)))
    return torch.cat([cosines(part, words).topk(count, dim=1).values.mean(dim=1) for part in flat.split(images)])


def mixed(
    share: Tensor | float, best: Float[Tensor, "image label"], whole: Float[Tensor, "image label"]
) -> Float[Tensor, "image label"]:
    """Both cosines in one score."""
    return share * whole + (1 - share) * best


def fit(settings: TopkPatchesConfig, fitting: Fitting) -> Fitted:
    """The share, and how it was found.

    Raises:
        UsageError: none is set, and there are no validation images to choose it by.
    """
    if settings.global_share is not None:
        return Fitted({"global_share": torch.tensor(settings.global_share)}, {"global_share": settings.global_share})
    if fitting.validated is None:
        raise UsageError(
            "setting model.global_share: got null, and there are no validation images to choose one by",
            expected="a number from 0 to 1",
            hint="Use:",
            run=Command(sets={"model.global_share": 0.5}),
        )

    def scored(maps: Maps) -> list[Tensor]:
        regions, whole = maps
        best, image = best_regions(regions, fitting.words, settings.top_k), cosines(whole, fitting.words)
        return [mixed(share, best, image) for share in SHARES]

    worth = fitting.validated(scored)
    share = SHARES[max(range(len(SHARES)), key=worth.__getitem__)]
    told = {"validation_map": {f"{share:g}": value for share, value in zip(SHARES, worth, strict=True)}}
    return Fitted({"global_share": torch.tensor(share)}, {"global_share": share, **told})
