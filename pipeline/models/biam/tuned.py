"""Preset `tuned`: scores of regions, of the whole scene and of two closed forms, added up.

Each part compares what it makes of an image with words, in the space of the words themselves, so that nothing is learnt
about a label that an unseen one would lack. The trained parts have losses of their own; their sum is better than any.
Ours, not the paper's; what was tried says the docstring of `pipeline.models.biam`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.biam.dropout import Dropout
from pipeline.models.biam.network import BiAM, among_words
from pipeline.models.biam.settings import BiamConfig
from pipeline.models.biam.tuned_fit import closed_forms
from pipeline.models.ridge.network import Ridge
from pipeline.models.ridge.network import build as ridge
from pipeline.models.shared.precision import long, wide
from pipeline.models.shared.processes import summed
from pipeline.models.shared.softmax import softmax_loss
from pipeline.models.shared.word_space import WordSpace
from pipeline.models.sizes import FeatureSizes

_MOMENTUM = 0.1  # of a part's deviation, from batch to batch


class Parts(NamedTuple):
    """What the network gives in training, of the seen labels.

    Attributes:
        scores: [part, image, label], of the regions, then of the scene where there is one.
        lesson: [image, label], those of the closed form, which the scene is taught by; None where it is not.
        label_weights: [label], of an image's labels in its loss.
    """

    scores: Tensor
    lesson: Tensor | None
    label_weights: Tensor


class Scene(nn.Module):
    """The global feature in the space of words, by one hidden layer.

    Args:
        config: `scene_units`, `scene_dropout`, `hidden_dropout`.
        size: elements of the feature.
        word_size: elements of a word vector.

    Attributes:
        mean: [global], of the feature.
        deviation: [global], above 0.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: BiamConfig, size: int, word_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.given, self.kept = Dropout(config.scene_dropout), Dropout(config.hidden_dropout)
        self.hidden = nn.Linear(size, config.scene_units)
        self.output = nn.Linear(config.scene_units, word_size)

    def forward(self, feature: Float[Tensor, "image global"]) -> Float[Tensor, "image word"]:
        """A vector for each image."""
        standardised = (feature - self.mean) / self.deviation
        vectors: Tensor = self.output(self.kept(torch.relu(self.hidden(self.given(standardised)))))
        return vectors


class Scaled(nn.Module):
    """Scores by their deviation over images and seen labels, as training meets them.

    Attributes:
        deviation: [], a running mean; 0 before the first batch.
    """

    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("deviation", torch.zeros(()))

    @torch.no_grad()
    def meet(self, scores: Float[Tensor, "image label"]) -> None:
        """Move with the scores of a batch, over all processes."""
        values = long(scores.detach())
        count = summed(torch.tensor(float(values.numel()), dtype=values.dtype, device=values.device))
        mean = summed(values.sum()) / count
        found = (summed((values - mean).square().sum()) / count).sqrt().to(self.deviation)
        share = torch.where(self.deviation > 0, _MOMENTUM, 1.0)
        self.deviation += share * (found - self.deviation)

    def forward(self, scores: Float[Tensor, "image label"]) -> Float[Tensor, "image label"]:
        """The scores, divided."""
        return scores / torch.where(self.deviation > 0, self.deviation, torch.ones_like(self.deviation))


class TunedBiAM(nn.Module):
    """Regions as BiAM enriches them, the scene, and ridge regression, each against the words.

    Args:
        config: weights of the parts, and what each is made of.
        regions: a BiAM whose joint space is that of the words.
        scene: None where it weighs nothing.
        closed_form: ridge regression of the global feature; None where it neither weighs nor teaches.
        kernel: the same in form `kernel`; None where it weighs nothing.

    Attributes:
        word_centre, word_axes: as `WordSpace` has them.
        label_weights: [label], of the seen labels in the loss.
    """

    regions: BiAM
    scene: Scene | None
    closed_form: Ridge | None
    kernel: Ridge | None
    word_centre: Tensor
    word_axes: Tensor
    label_weights: Tensor

    def __init__(
        self,
        config: BiamConfig,
        regions: BiAM,
        scene: Scene | None,
        closed_form: Ridge | None,
        kernel: Ridge | None,
    ) -> None:
        super().__init__()
        self.by_cosine = config.similarity == "cosine"
        self.teaches = bool(config.teacher_weight and scene is not None)
        self.regions, self.scene, self.closed_form, self.kernel = regions, scene, closed_form, kernel
        weights = {
            "regions": config.region_weight,
            "scene": config.scene_weight,
            "closed_form": config.closed_form_weight,
            "kernel": config.kernel_weight,
        }
        self.weights: Mapping[str, float] = {name: weight for name, weight in weights.items() if weight}
        self.scales = nn.ModuleDict({name: Scaled() for name in self.weights})
        self.register_buffer("word_centre", torch.zeros(0))
        self.register_buffer("word_axes", torch.zeros(0, 0))
        self.register_buffer("label_weights", torch.ones(0))

    def forward(
        self,
        region: Float[Tensor, "image height width channel"],
        global_feature: Float[Tensor, "image ..."],
        label_vectors: Float[Tensor, "label word"],
    ) -> Float[Tensor, "image label"] | Parts:
        """Score of each label in each image, float32; in training the scores of each part.

        Raises:
            UsageError: as `BiAM.forward`.
        """
        scores = self._trained(region, global_feature, label_vectors)
        if self.training:
            for name, found in scores.items():
                self._scale(name).meet(found)
            lesson = self._lesson(global_feature, label_vectors) if self.teaches else None
            return Parts(torch.stack(list(scores.values())), lesson, self.label_weights)
        for name, form in (("closed_form", self.closed_form), ("kernel", self.kernel)):
            if name in self.weights:
                assert form is not None, "it weighs something"
                scores[name] = form(global_feature, label_vectors)
        scaled = (weight * self._scale(name)(scores[name]) for name, weight in self.weights.items())
        return torch.stack(list(scaled)).sum(dim=0).float()

    def response_maps(
        self,
        region: Float[Tensor, "image height width channel"],
        global_feature: Float[Tensor, "image ..."],
        label_vectors: Float[Tensor, "label word"],
    ) -> Float[Tensor, "image label height width"]:
        """Response of each label at each region, which is all that the regions' part of a score comes from."""
        return self.regions.response_maps(region, global_feature, self._placed(label_vectors))

    def label_features(
        self,
        region: Float[Tensor, "image height width channel"],
        global_feature: Float[Tensor, "image ..."],
        label_vectors: Float[Tensor, "label word"],
    ) -> Float[Tensor, "image label word"]:
        """The vector from which the regions' part of a label's score is read."""
        return self.regions.label_features(region, global_feature, self._placed(label_vectors))

    def _trained(self, region: Tensor, global_feature: Tensor, label_vectors: Tensor) -> dict[str, Tensor]:
        """Scores of the parts that are trained."""
        placed = self._placed(label_vectors)
        scores = {"regions": self.regions(region, global_feature, placed)}
        if self.scene is not None:
            vectors = self.scene(wide(global_feature))
            if self.by_cosine:
                vectors = functional.normalize(vectors, dim=1)
            scores["scene"] = vectors @ placed.to(vectors.dtype).T
        return scores

    def _scale(self, name: str) -> Scaled:
        scale = self.scales[name]
        assert isinstance(scale, Scaled)
        return scale

    @torch.no_grad()
    def _lesson(self, global_feature: Tensor, label_vectors: Tensor) -> Float[Tensor, "image label"]:
        assert self.closed_form is not None, "it teaches"
        lesson: Tensor = self.closed_form(global_feature, label_vectors)
        return lesson

    def _placed(self, label_vectors: Float[Tensor, "label word"]) -> Float[Tensor, "label word"]:
        return WordSpace(self.word_centre, self.word_axes).placed(label_vectors)


def build(config: BiamConfig, sizes: FeatureSizes) -> TunedBiAM:
    """One with fresh weights, drawn from torch's global random state; closed forms have nothing fitted yet."""
    regions = among_words(config, sizes)
    scene = Scene(config, sizes.maps["global"], sizes.word_size) if config.scene_weight else None
    forms = {name: ridge(settings, sizes) for name, settings in closed_forms(config).items()}
    return TunedBiAM(config, regions, scene, forms.get("closed_form"), forms.get("kernel"))


def loss(config: BiamConfig, parts: Parts, codes: Int8[Tensor, "image label"], batch_images: int) -> Float[Tensor, ""]:
    """The cross-entropy of each part, and what the scene's scores are off the closed form's.

    Args:
        config: `temperature`, `teacher_weight`.
        codes: +1 present, -1 absent, 0 unknown.
        batch_images: size of the whole batch, over all processes.
    """
    own = [
        softmax_loss(scores / config.temperature, codes, parts.label_weights, batch_images) for scores in parts.scores
    ]
    total = torch.stack(own).sum()
    if parts.lesson is None:
        return total
    off = (parts.scores[-1] - parts.lesson).square().mean(dim=1).sum() / batch_images
    return total + config.teacher_weight * off
