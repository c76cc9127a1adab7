"""ConSE, the words of the most probable seen labels mixed: what it says of itself. The network stands in `network`.

Any classifier of seen labels can stand before it. Here it is a logistic regression as model `logistic` has it, and its
labels weigh by their own probability, each by itself; both are ours, as is the training: presets `ours`, `tuned`, which
centres the features, and `demo`, for small sets.

Source: Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR 2014.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models import logistic
from pipeline.models.contract import TASKS as PARTS
from pipeline.models.shared.input_settings import InputNormConfig
from schemas.command import Command
from schemas.errors import UsageError
from schemas.section import Recipe
from schemas.values import Positive

if TYPE_CHECKING:
    from pipeline.models.conse.network import Conse
    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.sizes import FeatureSizes


class ConseConfig(InputNormConfig):
    """ConSE: the words of an image's most probable seen labels, mixed, against those of any label."""

    name: Recipe[str] = "conse"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["ours", "tuned", "demo"]] = "ours"
    """Our settings for data sets of the papers' size (`ours`), the same with centred features (`tuned`), or settings
    for small sets (`demo`). Fills what is not set.
    """
    mixed_labels: Recipe[Positive] = 10
    """Most probable labels of an image whose vectors are mixed; at most as many as there are seen labels."""


SETTINGS = ConseConfig
TASKS = PARTS["zero-shot"]
LABEL_WEIGHTS = True
PRESETS: Mapping[str, Mapping[str, Any]] = logistic.PRESETS
loss = logistic.loss


def needs(settings: ConseConfig) -> Sequence[str]:
    """The global feature alone."""
    del settings
    return ("global",)


def build(settings: ConseConfig, sizes: "FeatureSizes") -> "Conse":
    """A network with fresh weights."""
    from pipeline.models.conse.network import Conse

    return Conse(settings, sizes.maps["global"], sizes.labels, sizes.word_size)


def fit(settings: ConseConfig, fitting: "Fitting") -> "Fitted":
    """The seen words, how often each label is met, and the mean of the training images where the feature is centred.

    Raises:
        UsageError: more labels are to be mixed than there are.
    """
    from pipeline.models.fitting import Fitted
    from pipeline.models.shared.label_head import fitted_head

    seen = len(fitting.words)
    if settings.mixed_labels > seen:
        raise UsageError(
            "setting model.mixed_labels:",
            got=f"{settings.mixed_labels}, but there are {seen} seen labels",
            expected=f"at most {seen}",
            hint="Use:",
            run=Command(sets={"model.mixed_labels": seen}),
        )
    return Fitted(fitted_head(settings.input_norm, fitting) | {"seen_words": fitting.words})
