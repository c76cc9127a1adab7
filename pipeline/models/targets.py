"""What the output of a network in training is compared with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.config import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """A batch, or one process's part of it, and the settings.

    Attributes:
        codes: int8 [image, label], +1 present, -1 absent, 0 unknown; seen labels alone.
        words: float32 [label, word], l2-normalised.
        batch_images: size of the whole batch, over all processes.
        model: section `model` of the settings, of the model's own class.
        train: section `train`.
    """

    codes: "Tensor"
    words: "Tensor"
    batch_images: int
    model: Any
    train: TrainConfig
