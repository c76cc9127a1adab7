"""The network of EfficientNet-Lite0, under the names of its published file.

Source: Tan and Le, "EfficientNet" (ICML 2019); Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks"
(CVPR 2018), of which the blocks are; TensorFlow's padding "SAME".
"""

from collections import OrderedDict
from collections.abc import Collection
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.backbones.efficientnet_lite0.stages import (
    CLASSES,
    HEAD_CHANNELS,
    STAGES,
    STEM_CHANNELS,
    STEM_STRIDE,
    StageSizes,
)
from pipeline.backbones.tapped import TappedNetwork, tapped

_NORM_EPSILON = 1e-3
_PIXEL_CHANNELS, _STEM_KERNEL = 3, 3


class SamePad(nn.Module):
    """Zeros around a map, for a convolution that gives a region for every `stride` of its own, rounded up.

    Where an odd number is needed, one more stands right and below; torch's own padding has as many on all sides.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, images: Tensor) -> Tensor:
        """[image, channel, height, width], padded."""
        above, below = self._around(images.shape[2])
        left, right = self._around(images.shape[3])
        return functional.pad(images, (left, right, above, below))

    def _around(self, side: int) -> tuple[int, int]:
        zeros = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
        return zeros // 2, zeros - zeros // 2


class Residual(nn.Sequential):
    """Layers whose output is added to what comes in."""

    def forward(self, images: Tensor) -> Tensor:
        """[image, channel, height, width]."""
        return images + super().forward(images)


class EfficientNetLite0(nn.Module):
    """The whole network with fresh weights, as a file of weights has it; `tapped` is what computes."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _convolution(_PIXEL_CHANNELS, STEM_CHANNELS, _STEM_KERNEL, STEM_STRIDE)
        self._bn0 = _norm(STEM_CHANNELS)
        given, blocks = STEM_CHANNELS, []
        for sizes in STAGES.values():
            for number in range(sizes.blocks):
                blocks.append(_block(given, sizes, 1 if number else sizes.stride))
                given = sizes.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _convolution(given, HEAD_CHANNELS), _norm(HEAD_CHANNELS)
        self._fc = nn.Linear(HEAD_CHANNELS, CLASSES)

    def tapped(self, columns: Collection[str]) -> TappedNetwork:
        """The network that gives these maps, in evaluation mode. It takes the weights over: use it once."""
        pad = SamePad(_STEM_KERNEL, STEM_STRIDE)
        layers = [nn.Sequential(pad, self._conv_stem, self._bn0, nn.ReLU6(inplace=True)), *self._blocks]
        ends, end = {}, 1
        for number, sizes in STAGES.items():
            end += sizes.blocks
            ends[f"stage{number}"] = end
        layers += [
            nn.Sequential(self._conv_head, self._bn1, nn.ReLU6(inplace=True)),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ]
        ends |= {"head": end + 1, "pooled": end + 2}
        for layer in layers:
            _fold_norms(layer)
        return tapped(layers, ends, columns)


def _block(given: int, sizes: StageSizes, stride: int) -> nn.Sequential:
    inside = given * sizes.widening
    layers: dict[str, nn.Module] = {}
    if sizes.widening > 1:
        layers |= {"_expand_conv": _convolution(given, inside), "_bn0": _norm(inside)}
        layers |= {"expand_relu": nn.ReLU6(inplace=True)}
    if stride > 1:
        layers |= {"pad": SamePad(sizes.kernel, stride)}
    layers |= {"_depthwise_conv": _convolution(inside, inside, sizes.kernel, stride, inside), "_bn1": _norm(inside)}
    layers |= {"depthwise_relu": nn.ReLU6(inplace=True)}
    layers |= {"_project_conv": _convolution(inside, sizes.channels), "_bn2": _norm(sizes.channels)}
    kind = Residual if (stride, given) == (1, sizes.channels) else nn.Sequential
    return kind(OrderedDict(layers))


def _convolution(given: int, gives: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """One that needs a `SamePad` before it where its stride is not 1."""
    padding = kernel // 2 if stride == 1 else 0
    made = nn.Conv2d(given, gives, kernel, stride, padding, groups=groups, bias=False)
    # With torch's own start nothing is left of a picture behind so many layers. Not from a normal distribution: drawing
    # from one on the device "meta" loads torch's compiler, which takes 5 s.
    nn.init.kaiming_uniform_(made.weight, nonlinearity="relu")
    return made


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_NORM_EPSILON)


def _fold_norms(layers: nn.Module) -> None:
    """Let convolutions do what the normalisations behind them do: 41 images/s on a core in place of 34."""
    for (name, layer), (behind, norm) in pairwise(list(layers.named_children())):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            # In float64, so that each weight is rounded once.
            setattr(layers, name, fuse_conv_bn_eval(layer.double(), norm.double()).float())
            delattr(layers, behind)
