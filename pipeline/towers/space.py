"""Whether maps and label vectors lie in one space: those of one tower do, those of two never, whatever their sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.towers.tower import FAMILY, Tower, is_tower
from schemas.command import Command
from schemas.config import BackboneConfig
from schemas.errors import PipelineError, UsageError
from schemas.features import FeatureSpec, MapSpec
from schemas.random_weights import is_random

_EXPECTED = "one tower for both, with the same weights"


@dataclass(frozen=True)
class _Weights:
    """Which weights of which model.

    Attributes:
        told: what equal weights have in common; None where it is not known.
    """

    model: str
    told: str | None

    def differ(self, other: "_Weights") -> bool:
        return self.model != other.model or (None not in (self.told, other.told) and self.told != other.told)


def require_planned(model: str, backbone: BackboneConfig, vectors: str, maps: Sequence[MapSpec]) -> None:
    """See that a model which compares maps with words will get comparable ones, as far as settings tell.

    Args:
        model: its name.
        vectors: setting `embed.vectors`.
        maps: that it reads.

    Raises:
        UsageError: it will not.
    """
    if not is_tower(vectors):
        return
    text = Tower.named("embed.vectors", vectors)
    _require_sizes(model, maps, text.size, vectors)
    if is_tower(backbone.name):
        image = Tower.named("backbone.name", backbone.name)
        own = image.weights if backbone.weights == "default" else backbone.weights
        by_name = own == image.weights or is_random(own)
        words = _Weights(text.model, None if text.path else text.weights)
        if _Weights(image.model, own if by_name else None).differ(words):
            raise _apart(model, f"{FAMILY}:{image.model}:{own}", vectors)


def require_one_space(
    model: str, maps: Sequence[MapSpec], word_size: int, spec: FeatureSpec, embedded: Mapping[str, Any]
) -> None:
    """The same of maps and label vectors that are there.

    Args:
        word_size: elements of a label's vector.
        spec: of the features.
        embedded: facts of the label vectors.

    Raises:
        UsageError: they are not comparable.
    """
    tower = embedded.get("tower")
    words = "the label vectors" if tower is None else f"{FAMILY}:{tower['model']}:{tower['weights']}"
    _require_sizes(model, maps, word_size, words)
    if tower is None or spec.origin is not None:  # nobody says what they are of
        return
    features = f"{spec.backbone} with the weights {spec.weights}"
    if not is_tower(spec.backbone):
        raise _apart(model, features, words)
    # Random weights have no file: what stands for it is made of other names on either side.
    both = spec.weights, tower["weights"]
    told = both if any(map(is_random, both)) else (spec.weights_sha256, embedded["vectors_sha256"])
    image, text = _Weights(spec.backbone.split(":")[1], told[0]), _Weights(tower["model"], told[1])
    if image.differ(text):
        raise _apart(model, features, words)


def pretraining_remark(spec: FeatureSpec, embedded: Mapping[str, Any]) -> str | None:
    """What is to be said of figures for unseen labels where a tower made vectors or features; None where none did.

    Args:
        embedded: facts of the label vectors.
    """
    tower = embedded.get("tower")
    made = [(f"{FAMILY}:{tower['model']}:{tower['weights']}", str(tower["weights"]))] if tower else []
    made += [(f"{spec.backbone} ({spec.weights})", spec.weights)] if is_tower(spec.backbone) else []
    trained = [name for name, weights in made if not is_random(weights)]
    if not trained:
        return None
    return (
        f"pretraining not zero-shot: {' and '.join(trained)} met the words of unseen labels in training, beside images "
        "of the web"
    )


def _require_sizes(model: str, maps: Sequence[MapSpec], word_size: int, words: str) -> None:
    for one in maps:
        if one.shape[-1] != word_size:
            raise _apart(model, f"the map {one.column} with {one.shape[-1]} numbers", f"{words} with {word_size}")


def _apart(model: str, features: str, words: str) -> PipelineError:
    tower = f"{FAMILY}:ViT-B-32:laion2b_s34b_b79k"
    return UsageError(
        f"the model {model} compares maps with label vectors:",
        got=f"{features}, and {words}",
        expected=_EXPECTED,
        hint="For example:",
        run=Command(sets={"backbone.name": tower, "embed.vectors": tower}),
    )
