"""WSABIE, features and labels in one small space: what it says of itself. The network stands in `network`.

Tables 6 and 7 of BiAM (ICCV 2021) have a row of that name, whose settings are not known: those of preset `ours` are
ours, and so are those of `demo`, for small sets.

Source: Weston, Bengio and Usunier, "WSABIE: Scaling Up To Large Vocabulary Image Annotation", IJCAI 2011.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import TASKS as PARTS
from pipeline.models.shared.input_settings import InputNormConfig
from schemas.config import TrainConfig
from schemas.section import Recipe
from schemas.values import Positive

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets
    from pipeline.models.wsabie.network import Wsabie


class WsabieConfig(InputNormConfig):
    """WSABIE: the global feature and each label in one small space."""

    name: Recipe[str] = "wsabie"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["ours", "demo"]] = "ours"
    """Our settings for data sets of the papers' size (`ours`), or those for small sets (`demo`). Fills what is not set.
    """
    joint_size: Recipe[Positive] = 100
    """Size of the space where the feature meets the labels."""
    ranks: Recipe[Literal["sampled", "counted"]] = "sampled"
    """How the rank of a positive label is found: by drawing absent labels until one violates its margin, which then is
    the one that counts (`sampled`), or by counting all that do, whose mean counts (`counted`).
    """


SETTINGS = WsabieConfig
TASKS = PARTS["standard"]
LABEL_WEIGHTS = True
_TRAINING = {"lr": 0.01, "momentum": 0.0, "epochs": 30, "warmup_epochs": 0, "weight_decay": 0.0}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ours": {"train": _TRAINING | {"validate_every_epochs": 1}},
    "demo": {"model": {"input_norm": "centred", "joint_size": 20}, "train": _TRAINING | {"lr": 0.1}},
}


def needs(settings: WsabieConfig) -> Sequence[str]:
    """The global feature alone."""
    del settings
    return ("global",)


def build(settings: WsabieConfig, sizes: "FeatureSizes") -> "Wsabie":
    """A network with fresh weights."""
    from pipeline.models.wsabie.network import Wsabie

    return Wsabie(settings, sizes.maps["global"], sizes.labels)


def loss(output: "Tensor", targets: "Targets") -> "Tensor":
    """Hinges of positive labels, weighted by the harmonic number of their rank."""
    from pipeline.models.shared.rank_weighted import rank_weighted_loss
    from pipeline.models.wsabie.network import sampled_rank_loss

    if targets.model.ranks == "counted":
        return rank_weighted_loss(output, targets.codes, "mean-harmonic", targets.batch_images)
    return sampled_rank_loss(output, targets.codes, targets.batch_images)


def optimizer(network: "Wsabie", train: TrainConfig) -> "Optimizer":
    """Gradient descent that keeps the norms of both matrices at 1 or below."""
    from pipeline.models.wsabie.network import ProjectedSGD

    return ProjectedSGD(network, train)


def fit(settings: WsabieConfig, fitting: "Fitting") -> "Fitted":
    """The mean of the training images where the feature is centred."""
    from pipeline.models.fitting import Fitted
    from pipeline.models.shared.input_norm import fitted_mean

    return Fitted(fitted_mean(settings.input_norm, fitting))
