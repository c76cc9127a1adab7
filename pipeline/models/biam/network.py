"""BiAM: score every region against every label, then pool the scores of the best regions.

Of the presets `paper` follows the equations; `released` follows the authors' code, which differs in several places (the
docstrings of `_paper` and `_released` say where); in `tuned` this is one part of a sum (`pipeline.models.biam.tuned`).
Widths, heads, top-k and dropouts come from the configuration, and so does every ablation of the paper: what is
classified (figure 5), heads, top-k and grid (figure 7), which blocks there are (table 3), and what they are made of
(table 4; "Non-Local" and "Criss-Cross" there stand alone: `model.blocks` = `rcb`).

Source: Narayan, Gupta et al., "Discriminative Region-based Multi-Label Zero-Shot Learning", ICCV 2021.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.biam.blocks import (
    RegionContext,
    SceneContext,
    StandardisedConv,
    conv_relu_norm,
    pointwise_leaky,
)
from pipeline.models.biam.compared_blocks import CrissCross, NonLocal
from pipeline.models.biam.pooling import top_k_scores
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.shared.norm import BatchNorm
from pipeline.models.sizes import FeatureSizes
from schemas.command import Command
from schemas.errors import UsageError


class BiAM(nn.Module):
    """The bi-level attention module with its region-level classifier, and what the paper compares it with.

    Symbols, ours -> the paper's: stem -> the first 3x3 convolution, region_context -> RCB, scene_context -> SCB,
    fusion -> c^f, label_projection -> W_a (seen from the labels' side), top_k -> k.

    Args:
        parts: `stem`, `fusion`, `label_projection`, and those of `region_context` and `scene_context` that it has.
        config: `classification`, `top_k`, `grid_side`.
    """

    def __init__(self, parts: dict[str, nn.Module], config: BiamConfig) -> None:
        super().__init__()
        self.top_k, self.grid_side = config.top_k, config.grid_side
        self.pooled = config.classification == "pooled"
        self.by_cosine = config.preset == "tuned" and config.similarity == "cosine"
        self.stem = parts["stem"]
        self.region_context = parts.get("region_context")
        self.scene_context = parts.get("scene_context")
        self.fusion = parts["fusion"]
        self.label_projection = parts["label_projection"]

    def forward(
        self,
        region: Float[Tensor, "image height width channel"],
        global_feature: Float[Tensor, "image global"],
        label_vectors: Float[Tensor, "label word"],
    ) -> Float[Tensor, "image label"]:
        """Score of each label in each image, float32; larger means more likely, only the order matters.

        Raises:
            UsageError: `model.top_k` is more than the map has regions, or `model.grid_side` more than it has rows.

        Source: section 2.3: the mean of the k largest responses. Figure 5: the score of the mean of all regions.
        """
        enriched = self._enriched(region, global_feature).flatten(2)
        labels = self._labels(label_vectors)
        if self.pooled:
            return (enriched.mean(dim=2) @ labels.T).float()
        self._check_top_k(enriched.shape[2])
        return top_k_scores(enriched, labels, self.top_k)

    def response_maps(
        self,
        region: Float[Tensor, "image height width channel"],
        global_feature: Float[Tensor, "image global"],
        label_vectors: Float[Tensor, "label word"],
    ) -> Float[Tensor, "image label height width"]:
        """Response of each label at each region of the grid.

        Args:
            region: the backbone's region map, of any float type.
            global_feature: the backbone's global feature.
            label_vectors: one l2-normalised word vector a label: seen ones, unseen ones or both.

        Source: equations 1 and 9.
        """
        enriched = self._enriched(region, global_feature)
        responses: Tensor = self._labels(label_vectors) @ enriched.flatten(2)
        return responses.unflatten(2, enriched.shape[2:])

    def label_features(
        self,
        region: Float[Tensor, "image height width channel"],
        global_feature: Float[Tensor, "image global"],
        label_vectors: Float[Tensor, "label word"],
    ) -> Float[Tensor, "image label joint"]:
        """The mean of each label's `top_k` best regions, or of all regions where these are pooled.

        Its product with the projected label is the label's score.

        Source: figure 6.
        """
        enriched = self._enriched(region, global_feature).flatten(2)
        if self.pooled:
            return enriched.mean(dim=2)[:, None].expand(-1, len(label_vectors), -1).float()
        best = (self._labels(label_vectors) @ enriched).topk(self.top_k, dim=2).indices
        means = [regions.T[of_labels].mean(dim=1) for regions, of_labels in zip(enriched, best, strict=True)]
        return torch.stack(means).float()

    def _enriched(
        self, region: Float[Tensor, "image height width channel"], global_feature: Float[Tensor, "image global"]
    ) -> Float[Tensor, "image joint height width"]:
        """The regions e_f, which labels are compared with."""
        dtype = next(self.parameters()).dtype
        # Channels-last, as all that follows: another layout may get another kernel, and with it other last digits.
        by_channel = region.to(dtype).contiguous().permute(0, 3, 1, 2)
        source = self.stem(self._on_grid(by_channel))
        contexts = []
        if self.region_context is not None:
            contexts.append(self.region_context(source))
        if self.scene_context is not None:
            contexts.append(self.scene_context(source, global_feature.to(dtype)))
        enriched: Tensor = self.fusion(torch.cat(contexts or [source], dim=1))
        return functional.normalize(enriched, dim=1) if self.by_cosine else enriched

    def _labels(self, label_vectors: Float[Tensor, "label word"]) -> Float[Tensor, "label joint"]:
        labels: Tensor = self.label_projection(label_vectors.to(next(self.parameters()).dtype))
        return labels

    def _on_grid(
        self, by_channel: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image channel height width"]:
        """The map averaged to a coarser grid where one is asked for. Rows may take part in two of the grid's."""
        height, width = by_channel.shape[2:]
        if self.grid_side is None:
            return by_channel
        if self.grid_side > min(height, width):
            raise UsageError(
                f"model.grid_side is {self.grid_side}, but the region map has {height} x {width} regions;",
                expected=f"at most {min(height, width)}",
                run=Command("train", sets={"model.grid_side": min(height, width)}),
            )
        return functional.adaptive_avg_pool2d(by_channel, self.grid_side)

    def _check_top_k(self, regions: int) -> None:
        if self.top_k > regions:
            raise UsageError(
                f"model.top_k is {self.top_k}, but the region map has {regions} regions;",
                expected=f"at most {regions}",
                run=Command("train", sets={"model.top_k": regions}),
            )


def build(config: BiamConfig, sizes: FeatureSizes) -> BiAM:
    """A BiAM with fresh weights, drawn from torch's global random state.

    A model without one of the blocks keeps the fusion layer, over what is left, so that nothing but the enrichment of
    the regions differs (table 3).
    """
    return BiAM({"paper": _paper, "released": _released}[config.preset](config, sizes), config)


def among_words(config: BiamConfig, sizes: FeatureSizes) -> BiAM:
    """The regions of preset `tuned`: enriched by what blocks there are, then mapped into the space of the words.

    Without blocks each region is on its own: its channels are standardised and mapped linearly.
    """
    size, channels = sizes.maps["region"], config.channels
    if config.blocks:
        parts = _contexts(config, sizes)
        parts["stem"] = conv_relu_norm(size, channels, BatchNorm(channels))
        parts["fusion"] = nn.Conv2d(_fused_channels(config), sizes.word_size, kernel_size=1)
    else:
        parts = {"stem": nn.Identity(), "fusion": StandardisedConv(size, sizes.word_size)}
    return BiAM(parts | {"label_projection": nn.Identity()}, config)


def _paper(config: BiamConfig, sizes: FeatureSizes) -> dict[str, nn.Module]:
    """Equations 1 to 9. What they write as a matrix W has no bias, what they write as a layer c(.) has one.

    Both 3x3 convolutions are followed by ReLU and batch normalisation (section 3, "Implementation Details"). The paper
    gives no width for the two layers of c_r: they keep the channels.
    """
    channels = config.channels
    parts: dict[str, nn.Module] = {"stem": conv_relu_norm(sizes.maps["region"], channels, BatchNorm(channels))}
    if "rcb" in config.blocks:
        parts["region_context"] = _region_context(config, hidden=channels, bias=False, dropout=0.0)
    if "scb" in config.blocks:
        parts["scene_context"] = SceneContext(
            key=nn.Conv2d(sizes.maps["global"], channels, kernel_size=1, bias=False),
            shared=nn.Identity(),
            refine=conv_relu_norm(channels, channels, BatchNorm(channels)),
            source_residual=True,
            dropout=0.0,
            weighting=config.scene_weighting,
        )
    fused = nn.Conv2d(_fused_channels(config), channels, kernel_size=1)
    parts["fusion"] = nn.Sequential(OrderedDict(conv=fused))
    parts["label_projection"] = nn.Linear(sizes.word_size, channels, bias=False)
    return parts


def _released(config: BiamConfig, sizes: FeatureSizes) -> dict[str, nn.Module]:
    """The authors' code, by the shapes of its weights and reference outputs.

    Differs from the paper: every projection has a bias; dropout on attention, its output and the global feature; c_r is
    twice as wide inside; query and value of the scene block pass a shared 1x1 convolution (the query before it is
    pooled), and its residual is the weighted regions; the fused regions pass a leaky ReLU into a joint space, which the
    label vectors reach through a layer with a bias; batch normalisation keeps almost nothing but the last batch.
    """
    channels = config.channels
    parts: dict[str, nn.Module] = {"stem": conv_relu_norm(sizes.maps["region"], channels, _released_norm(channels))}
    parts |= _contexts(config, sizes, _released_norm)
    parts["fusion"] = pointwise_leaky(_fused_channels(config), config.joint_size)
    parts["label_projection"] = nn.Linear(sizes.word_size, config.joint_size)
    return parts


def _contexts(
    config: BiamConfig, sizes: FeatureSizes, norm: Callable[[int], BatchNorm] = BatchNorm
) -> dict[str, nn.Module]:
    """The blocks of the released code, as far as there are any."""
    channels, parts = config.channels, dict[str, nn.Module]()
    if "rcb" in config.blocks:
        parts["region_context"] = _region_context(config, 2 * channels, bias=True, dropout=config.attention_dropout)
    if "scb" in config.blocks:
        parts["scene_context"] = SceneContext(
            key=nn.Conv2d(sizes.maps["global"], channels, kernel_size=1),
            shared=pointwise_leaky(channels, channels),
            refine=conv_relu_norm(channels, channels, norm(channels)),
            source_residual=False,
            dropout=config.global_dropout,
            weighting=config.scene_weighting,
        )
    return parts


def _region_context(config: BiamConfig, hidden: int, bias: bool, dropout: float) -> nn.Module:
    """RCB, or what stands in its place."""
    if config.region_attention == "non-local":
        return NonLocal(config.channels)
    if config.region_attention == "criss-cross":
        return CrissCross(config.channels)
    return RegionContext(config, hidden, bias, dropout)


def _fused_channels(config: BiamConfig) -> int:
    """Of both contexts side by side, of one of them, or of the bare regions."""
    return max(1, len(config.blocks)) * config.channels


def _released_norm(channels: int) -> BatchNorm:
    # 0.99 is Keras' share to keep, but torch's share to replace: the running statistics are those of the last batch.
    return BatchNorm(channels, eps=1e-3, momentum=0.99)
