"""The (ML)2P encoder, channels as tokens: what it says of itself. The network stands in `network`.

Preset `released` follows the authors' code for testing, which reads the vectors of the groups interleaved; `paper` reads
them transposed and adds the residual of their slides. Neither loss nor training are released: the loss is that of SDL
with the weight that the code names, the rest is ours. The backbone is frozen here, and was trained with the encoder there.
Preset `demo`, and `model.maps = region`, which reads one region map where the authors read three, are ours.

Source: the (ML)2P-Encoder (CVPR 2023), its slides and released code.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import NotBelowZero, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.ml2p.network import Ml2p
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets

_PYRAMID = ("pool3", "pool4", "pool5")


class Ml2pConfig(ModelSection):
    """The (ML)2P encoder: attention between channels, in groups."""

    name: Recipe[str] = "ml2p"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["released", "paper", "demo"]] = "released"
    """Whether the model follows the authors' code (`released`) or their slides (`paper`), or is one for small sets
    (`demo`). Fills what is not set.
    """
    maps: Recipe[Literal["pyramid", "region"]] = "pyramid"
    """What is read: pool3, pool4 and pool5 of VGG-19-BN (`pyramid`), or one `region` map, which is ours."""
    groups: Recipe[Positive] = 7
    """Groups of channels; each gives a vector in the space of words, and a label takes the one that suits it best."""
    reading: Recipe[Literal["interleaved", "transposed"]] = "interleaved"
    """How a vector is read from the groups: mixing them, as the code does (`interleaved`), or one each (`transposed`)."""
    residual: Recipe[bool] = False
    """Whether the channels are added to what the attention gives, as the slides have it."""
    shrink: Recipe[Positive] = 5
    """How many times narrower the hidden layers of the mixer are than its inputs."""
    spread_weight: Recipe[NotBelowZero] = 0.4
    """Weight of the part of the loss about how the vectors of an image spread, from 0 to 1; the ranking has the rest."""
    unknown: Recipe[Literal["negative", "ignore"]] = "negative"
    """What labels of unknown state are in the loss: absent (`negative`), or not there (`ignore`)."""


SETTINGS = Ml2pConfig
TASKS = EVERY_TASK
_TRAINING = {"lr": 5e-5, "warmup_epochs": 0, "weight_decay": 0.0, "batch_images": 96, "epochs": 20}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "released": {"train": _TRAINING | {"validate_every_epochs": 1}},
    "paper": {
        "model": {"reading": "transposed", "residual": True, "unknown": "ignore"},
        "train": _TRAINING | {"validate_every_epochs": 1},
    },
    "demo": {
        "model": {"maps": "region", "groups": 2, "reading": "transposed", "residual": True},
        "train": _TRAINING | {"lr": 1e-3, "batch_images": 32, "epochs": 6, "validate_every_epochs": 2},
    },
}


def needs(settings: Ml2pConfig) -> Sequence[str]:
    """Three maps by column, or the region map."""
    return _PYRAMID if settings.maps == "pyramid" else ("region",)


def build(settings: Ml2pConfig, sizes: "FeatureSizes") -> "Ml2p":
    """A network with fresh weights."""
    from pipeline.models.ml2p.network import Ml2p

    return Ml2p([sizes.maps[name] for name in needs(settings)], sizes.word_size, settings)


def loss(output: "tuple[Tensor, Tensor]", targets: "Targets") -> "Tensor":
    """The loss of SDL."""
    from pipeline.models.shared.pairs import sdl_loss
