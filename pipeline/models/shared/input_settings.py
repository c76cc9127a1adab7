"""How a global feature is normalised, for all models that do so. Needs no torch."""

from typing import Literal

from schemas.config import ModelSection
from schemas.section import Recipe

Norm = Literal["none", "l2", "centred"]


class InputNormConfig(ModelSection):
    """A model of a normalised feature."""

    input_norm: Recipe[Norm] = "l2"
    """What is done to the feature first: nothing (`none`), its norm made 1 (`l2`), or the mean of the training images
    taken off, then its norm made 1 (`centred`).
    """
