"""Settings of the ridge regression. They need no torch."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import Positive

Strength = Annotated[float, Field(gt=0.0, le=1e12)]


class RidgeConfig(ModelSection):
    """Ridge regression from features to seen labels or to their words, in closed form."""

    name: Recipe[str] = "ridge"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["default"]] = "default"
    """Name of a set of settings of `model` and `train` that belong together: there is one, `default`."""
    form: Recipe[Literal["devise", "conse", "eszsl"]] = "conse"
    """What is regressed, and how words come in: the mean vector of an image's labels, compared by its cosine
    (`devise`); the labels, of which the best ones mix their vectors (`conse`); or labels and words, each with a ridge
    of its own (`eszsl`).
    """
    feature: Recipe[Literal["global", "region"]] = "global"
    """Map that is regressed from: the `global` feature, or the mean over the `region` map."""
    strength: Recipe[Strength | None] = None
    """Weight of the squared coefficients, above 0. null: of 100, 1000, 10000 and 100000 the one with the best mAP of
    seen labels on the validation images.
    """
    mixed_labels: Recipe[Positive] = 10
    """Best labels of an image whose vectors are mixed, in form `conse`."""

    def in_vain(self) -> dict[str, str]:
        """Settings that the form does not read: the reason by key."""
        if self.form == "conse":
            return {}
        return {"mixed_labels": f"which is of form 'conse', and this one is {self.form!r}"}
