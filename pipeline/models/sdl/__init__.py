"""SDL, several vectors an image in the space of words: what it says of itself. The network stands in `network`.

Loss and head are those of the released code, and so is the training of preset `released`: that for COCO, with seven
vectors an image as for NUS-WIDE. Differs: there the head is trained together with the backbone, here on its stored
features; and the rate changes from epoch to epoch, not from step to step, and ends higher. Presets `tuned`, which
centres the features, and `demo`, for small sets, are ours.

Source: Ben-Cohen et al., "Semantic Diversity Learning for Zero-Shot Multi-label Classification", ICCV 2021, and the
code released with it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from pipeline.models.shared.diversity import DiversityConfig
from pipeline.models.shared.input_settings import InputNormConfig
from schemas.section import Recipe
from schemas.values import Positive

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.sdl.network import Sdl
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets


class SdlConfig(InputNormConfig, DiversityConfig):
    """SDL: several vectors an image in the space of words, of which a label takes the best."""

    name: Recipe[str] = "sdl"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["released", "tuned", "demo"]] = "released"
    """The authors' loss and training (`released`), ours with centred features (`tuned`), or
    settings for small sets (`demo`). Fills what is not set.
    """
    feature: Recipe[Literal["global", "region"]] = "global"
    """Map that is read: the `global` feature, or the mean over the `region` map."""
    rows: Recipe[Positive] = 7
    """Vectors of an image; a label takes the one that suits it best."""


SETTINGS = SdlConfig
TASKS = EVERY_TASK
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "released": {
        "model": {"input_norm": "none", "unknown": "negative"},
        # Near the release's one cycle: half the rate in the first epoch, then down along a cosine. The cycle falls at
        # once and ends lower: its mean rate is a sixth less, and its last epoch has 2.5e-7 where this one has 1.2e-6.
        "train": {
            "lr": 2.5e-5,
            "final_lr": 2.5e-7,
            "warmup_epochs": 2,
            "weight_decay": 3e-4,
            "decayed": "matrices",
            "epochs": 10,
            "validate_every_epochs": 1,
        },
    },
    "tuned": {
        "model": {"input_norm": "centred"},
        "train": {"epochs": 15, "warmup_epochs": 0, "weight_decay": 0.0, "validate_every_epochs": 1},
    },
    "demo": {
        "model": {"input_norm": "centred", "rows": 3},
        "train": {"epochs": 15, "warmup_epochs": 0, "weight_decay": 0.0},
    },
}


def needs(settings: SdlConfig) -> Sequence[str]:
    """The one map it reads."""
    return (settings.feature,)


def build(settings: SdlConfig, sizes: "FeatureSizes") -> "Sdl":
    """A network with fresh weights."""
    from pipeline.models.sdl.network import Sdl

    return Sdl(settings, sizes.maps[settings.feature], sizes.word_size)


def loss(output: "tuple[Tensor, Tensor]", targets: "Targets") -> "Tensor":
    """The loss of SDL."""
    from pipeline.models.shared.pairs import sdl_loss

    scores, vectors = output
    return sdl_loss(scores, vectors, targets.codes, targets.words, targets.model)


def fit(settings: SdlConfig, fitting: "Fitting") -> "Fitted":
    """The mean of the training images, where the feature is centred."""
    from pipeline.models.fitting import Fitted
    from pipeline.models.shared.input_norm import fitted_mean

    return Fitted(fitted_mean(settings.input_norm, fitting))
