"""Ridge regression from features to labels or words, in closed form: what it says of itself.

What any other model has to beat: no epochs, a single pass over the training images. The sums that it comes from stand
in `moments`, the solution in `solution`, the network in `network`; `choice` decides what the settings leave open.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.models.contract import EVERY_TASK
from pipeline.models.ridge.settings import RidgeConfig
from schemas.config import Config

if TYPE_CHECKING:
    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.ridge.network import Ridge
    from pipeline.models.sizes import FeatureSizes

SETTINGS = RidgeConfig
TASKS = EVERY_TASK
EPOCHS = False
_USUAL = {"words": "plain", "choose_by": "seen_labels"}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "conse": {"model": {**_USUAL, "form": "conse", "mixed_labels": 10}},
    "devise": {"model": {**_USUAL, "form": "devise"}},
    "eszsl": {"model": {**_USUAL, "form": "eszsl"}},
}


def needs(settings: RidgeConfig) -> Sequence[str]:
    """The one map it regresses from."""
    return (settings.feature,)


def in_vain(config: Config) -> dict[str, str]:
    """Settings that the others leave unread."""
    assert isinstance(config.model, RidgeConfig), "the settings of another model"
    return {f"model.{key}": reason for key, reason in config.model.in_vain().items()}


def build(settings: RidgeConfig, sizes: "FeatureSizes") -> "Ridge":
    """A network without anything fitted yet."""
    from pipeline.models.ridge import network

    return network.build(settings, sizes)


def fit(settings: RidgeConfig, fitting: "Fitting") -> "Fitted":
    """The solution; what the settings leave open is chosen by the validation images.

    Raises:
        UsageError: something is left open, and there is nothing to choose it by.
    """
    from pipeline.models.ridge import choice

    return choice.fit(settings, fitting)
