"""The network of the ridge regression: a linear map of the standardised feature, and what compares it with words."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pipeline.machine.device import one_thread
from pipeline.models.ridge.settings import FORMS, MIXING, RidgeConfig
from pipeline.models.shared.precision import long_type
from pipeline.models.shared.word_space import WordSpace
from pipeline.models.sizes import FeatureSizes

_POOLED = 8  # images
# Files of before have none of these: their forms left words as they are, and their settings say what was chosen.
_NEWER = ("form_number", "mixed_labels", "deviations", "word_centre", "word_axes")
_USUALLY_MIXED = 10


class Ridge(nn.Module):
    """Scores words by what a feature was regressed to. All its buffers are fitted; none is learnt by steps.

    Args:
        settings: what they leave open is in buffers.
        size: elements of the feature.

    How many targets and seen labels there are is known only when the buffers are put in.

    Attributes:
        mean: [feature], over the training images.
        deviation: [feature], the same; 1 where it is 0.
        weights: [feature, target]; targets are seen labels, elements of a word vector, or in form `conse_devise` both.
        offset: [target].
        seen_words: [label, word], of the labels that are regressed to, where words are compared; [0, word] where none.
        form_number: [], among `FORMS`.
        mixed_labels: [], in forms that mix some.
        deviations: [part], of the scores of the parts that form `conse_devise` adds up; 1 in others.
        word_centre: [word], that is taken off words before they are compared; of no element where they stay.
        word_axes: [word, word], that they are multiplied by then; likewise.
    """

    mean: Tensor
    deviation: Tensor
    weights: Tensor
    offset: Tensor
    seen_words: Tensor
    form_number: Tensor
    mixed_labels: Tensor
    deviations: Tensor
    word_centre: Tensor
    word_axes: Tensor

    def __init__(self, settings: RidgeConfig, size: int, word_size: int) -> None:
        super().__init__()
        self.kernel_width = settings.kernel_width
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.register_buffer("weights", torch.zeros(size, word_size))
        self.register_buffer("offset", torch.zeros(word_size))
        self.register_buffer("seen_words", torch.zeros(0, word_size))
        self.register_buffer("form_number", torch.tensor(FORMS.index(settings.form or FORMS[0])))
        self.register_buffer("mixed_labels", torch.tensor(settings.mixed_labels or _USUALLY_MIXED))
        self.register_buffer("deviations", torch.ones(2))
        self.register_buffer("word_centre", torch.zeros(0))
        self.register_buffer("word_axes", torch.zeros(0, 0))
        self.register_load_state_dict_pre_hook(_complete)

    def forward(
        self, feature: Float[Tensor, "image ..."], words: Float[Tensor, "label word"]
    ) -> Float[Tensor, "image label"]:
        """Score of each label in each image, float32.

        Sums run in float64 where the device has it.

        Args:
            feature: [image, feature], or [image, height, width, feature], of which the mean counts.
            words: l2-normalised.
        """
        wide = long_type(feature.device)
        standardised = (pooled(feature).to(wide) - self.mean.to(wide)) / self.deviation.to(wide)
        regressed = standardised @ self.weights.to(wide) + self.offset.to(wide)
        scoring = Scoring(
            FORMS[int(self.form_number)], int(self.mixed_labels), self.kernel_width, self.deviations.to(wide)
        )
        placed = WordSpace(self.word_centre.to(wide), self.word_axes.to(wide)).placed(words.to(wide))
        return scoring.scores(regressed, self.seen_words.to(wide), placed).float()


def _complete(network: Ridge, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Fill in what a file of before has not, with what the network of its settings has.

    Raises:
        ValueError: the file names a form that there is none of.
    """
    for name in _NEWER:
        state.setdefault(f"{prefix}{name}", getattr(network, name))
    number = state[f"{prefix}form_number"]
    if number.numel() != 1 or not 0 <= int(number) < len(FORMS):
        raise ValueError(f"its form is number {number.flatten()[:1].tolist()}, and there are {len(FORMS)}")


def pooled(feature: Float[Tensor, "image ..."]) -> Float[Tensor, "image feature"]:
    """The feature, or the mean over the regions of a map, in float32 at least."""
    if feature.ndim == 2:
        return feature
    # A few images at a time: in float32 they stay in a CPU's caches. Other threads read the next ones meanwhile.
    with one_thread():
        return torch.cat([part.float().flatten(1, -2).mean(dim=1) for part in feature.split(_POOLED)])


@dataclass(frozen=True)
class Scoring:
    """How words are compared with what an image was regressed to. Words stand in the space of the regression.

    Source: Frome et al., "DeViSE", NeurIPS 2013; Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic
    Embeddings", ICLR 2014; Romera-Paredes and Torr, "An embarrassingly simple approach to zero-shot learning", ICML
    2015. Differs: the regression is linear, in place of a network or of a softmax over classes. `conse_devise` and
    `kernel` are ours.

    Attributes:
        form: `devise`: the cosine of the regressed vector with each word. `conse`: the best labels, negative ones as 0,
            are the weights of their vectors, and the cosine of the sum counts. `conse_devise`: the sum of both, each by
            its deviation. `kernel`: the sum over labels of their scores times exp((cosine - 1) / width). `eszsl`: the
            product with each word.
        deviations: [part].
    """

    form: str
    mixed_labels: int
    kernel_width: float
    deviations: Float[Tensor, "part"]

    def scores(
        self,
        regressed: Float[Tensor, "image target"],
        seen_words: Float[Tensor, "seen word"],
        words: Float[Tensor, "label word"],
    ) -> Float[Tensor, "image label"]:
        """Score of each word in each image."""
        parts = self.parts(regressed, seen_words, words)
        if len(parts) == 1:
            return parts[0]
        return sum(part / deviation for part, deviation in zip(parts, self.deviations, strict=True))

    def parts(
        self,
        regressed: Float[Tensor, "image target"],
        seen_words: Float[Tensor, "seen word"],
        words: Float[Tensor, "label word"],
    ) -> list[Float[Tensor, "image label"]]:
        """What the scores are the sum of."""
        if self.form == "eszsl":
            return [regressed @ words.T]
        units = functional.normalize(words, dim=1)
        if self.form == "kernel":
            cosines = functional.normalize(seen_words, dim=1) @ units.T
            return [regressed @ ((cosines - 1) / self.kernel_width).exp()]
        vectors = [regressed]
        if self.form in MIXING:
            labels, rest = regressed.tensor_split([len(seen_words)], dim=1)
            best = labels.topk(min(self.mixed_labels, labels.shape[1]), dim=1)
            weights = torch.zeros_like(labels).scatter_(1, best.indices, best.values.clamp(min=0))
            vectors = [weights @ seen_words, *([rest] if self.form == "conse_devise" else [])]
        return [functional.normalize(vector, dim=1) @ units.T for vector in vectors]


def build(settings: RidgeConfig, sizes: FeatureSizes) -> Ridge:
    """A network without anything fitted yet."""
    return Ridge(settings, sizes.maps[settings.feature], sizes.word_size)
