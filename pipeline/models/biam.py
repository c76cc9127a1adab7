"""BiAM: score every region against every label, then pool the scores of the best regions.

Two presets. `paper` follows the equations; `released` follows the authors' code, which differs in several places (the
docstrings of `_paper` and `_released` say where). Widths, heads, top-k and dropouts come from the configuration.

Source: Narayan, Gupta et al., "Discriminative Region-based Multi-Label Zero-Shot Learning", ICCV 2021.
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.blocks import RegionContext, SceneContext, conv_relu_norm, pointwise_leaky
from pipeline.models.sizes import FeatureSizes
from schemas.config import ModelConfig
from schemas.errors import UsageError


class BiAM(nn.Module):
    """The bi-level attention module with its region-level classifier.

    Symbols, ours -> the paper's: stem -> the first 3x3 convolution, region_context -> RCB, scene_context -> SCB,
    fusion -> c^f, label_projection -> W_a (seen from the labels' side), top_k -> k.

    Args:
        parts: `stem`, `region_context`, `scene_context`, `fusion` and `label_projection`.
        top_k: regions whose scores are averaged, the best of each label.
    """

    def __init__(self, parts: dict[str, nn.Module], top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.stem = parts["stem"]
        self.region_context = parts["region_context"]
        self.scene_context = parts["scene_context"]
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
            UsageError: `model.top_k` is more than the map has regions.

        Source: section 2.3: the mean of the k largest responses.
        """
        regions = region.shape[1] * region.shape[2]
        if self.top_k > regions:
            raise UsageError(
                f"model.top_k is {self.top_k}, but the region map has {regions} regions "
                f"({region.shape[1]} x {region.shape[2]}); expected at most {regions}. "
                f"Run: biam-pipe train --set model.top_k={regions}"
            )
        responses = self.response_maps(region, global_feature, label_vectors).flatten(2)
        return responses.topk(self.top_k, dim=2, sorted=False).values.mean(dim=2).float()

    def response_maps(
        self,
        region: Float[Tensor, "image height width channel"],
        global_feature: Float[Tensor, "image global"],
        label_vectors: Float[Tensor, "label word"],
    ) -> Float[Tensor, "image label height width"]:
        """Response of each label at each region.

        Args:
            region: the backbone's region map, of any float type.
            global_feature: the backbone's global feature.
            label_vectors: one l2-normalised word vector a label: seen ones, unseen ones or both.

        Source: equations 1 and 9.
        """
        dtype = next(self.parameters()).dtype
        # One pass over the regions, most often a float16 to float32 cast that copies anyway. Left channels-last, they
        # meet a batch normalisation that on CPUs is 10 times noisier and depends on the number of threads: on the
        # reference training curve 6e-3 off after four steps instead of 3e-6, and not faster.
        by_channel = region.permute(0, 3, 1, 2).to(dtype, memory_format=torch.contiguous_format)
        source = self.stem(by_channel)
        contexts = (self.region_context(source), self.scene_context(source, global_feature.to(dtype)))
        enriched = self.fusion(torch.cat(contexts, dim=1))
        labels = self.label_projection(label_vectors.to(dtype))
        responses: Tensor = labels @ enriched.flatten(2)
        return responses.unflatten(2, enriched.shape[2:])


def build(config: ModelConfig, sizes: FeatureSizes) -> BiAM:
    """A BiAM with fresh weights, drawn from torch's global random state."""
    parts = {"paper": _paper, "released": _released}[config.preset](config, sizes)
    return BiAM(parts, config.top_k)


def _paper(config: ModelConfig, sizes: FeatureSizes) -> dict[str, nn.Module]:
    """Equations 1 to 9. What they write as a matrix W has no bias, what they write as a layer c(.) has one.

    Both 3x3 convolutions are followed by ReLU and batch normalisation (section 3, "Implementation Details"). The paper
    gives no width for the two layers of c_r: they keep the channels.
    """
    channels = config.channels
    return {
        "stem": conv_relu_norm(sizes.region_channels, channels, nn.BatchNorm2d(channels)),
        "region_context": RegionContext(channels, config.heads, hidden=channels, bias=False, dropout=0.0),
        "scene_context": SceneContext(
            key=nn.Conv2d(sizes.global_size, channels, kernel_size=1, bias=False),
            shared=nn.Identity(),
            refine=conv_relu_norm(channels, channels, nn.BatchNorm2d(channels)),
            source_residual=True,
            dropout=0.0,
        ),
        "fusion": nn.Sequential(OrderedDict(conv=nn.Conv2d(2 * channels, channels, kernel_size=1))),
        "label_projection": nn.Linear(sizes.word_size, channels, bias=False),
    }


def _released(config: ModelConfig, sizes: FeatureSizes) -> dict[str, nn.Module]:
    """The authors' code, by the shapes of its weights and reference outputs.

    Differs from the paper: every projection has a bias; dropout on attention, its output and the global feature; c_r is
    twice as wide inside; query and value of the scene block pass a shared 1x1 convolution (the query before it is
    pooled), and its residual is the weighted regions; the fused regions pass a leaky ReLU into a joint space, which the
    label vectors reach through a layer with a bias; batch normalisation keeps almost nothing but the last batch.
    """
    channels = config.channels
    return {
        "stem": conv_relu_norm(sizes.region_channels, channels, _released_norm(channels)),
        "region_context": RegionContext(
            channels, config.heads, hidden=2 * channels, bias=True, dropout=config.attention_dropout
        ),
        "scene_context": SceneContext(
            key=nn.Conv2d(sizes.global_size, channels, kernel_size=1),
            shared=pointwise_leaky(channels, channels),
            refine=conv_relu_norm(channels, channels, _released_norm(channels)),
            source_residual=False,
            dropout=config.global_dropout,
        ),
        "fusion": pointwise_leaky(2 * channels, config.joint_size),
        "label_projection": nn.Linear(sizes.word_size, config.joint_size),
    }


def _released_norm(channels: int) -> nn.BatchNorm2d:
    # 0.99 is Keras' share to keep, but torch's share to replace: the running statistics are those of the last batch.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.99)
