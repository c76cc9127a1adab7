"""The sizes a model takes from the features and word vectors it is built for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.features import MapSpec

_SIZE, _CHANNELS, _WORD, _LABELS = "_size", "_channels", "word_size", "labels"


@dataclass(frozen=True)
class FeatureSizes:
    """What the inputs of a model look like. Height and width of a region map are free.

    Attributes:
        maps: elements along the last axis of each map that the model reads, by role or column: channels of a region
            map, elements of a global feature.
        word_size: elements of a label's word vector.
        labels: that the model learns, where it has weights for each of them (`LABEL_WEIGHTS`); else 0.
    """

    maps: Mapping[str, int]
    word_size: int
    labels: int = 0

    @classmethod
    def of(cls, needs: Sequence[str], maps: Sequence[MapSpec], word_size: int, labels: int = 0) -> "FeatureSizes":
        """The sizes of these maps, which are those of `needs`."""
        return cls({name: spec.shape[-1] for name, spec in zip(needs, maps, strict=True)}, word_size, labels)

    def as_json(self) -> dict[str, int]:
        """As it stands in a model file: `region_channels`, `global_size`, `word_size`, and `labels` where there are."""
        of_labels = {_LABELS: self.labels} if self.labels else {}
        return {_key(name): size for name, size in self.maps.items()} | {_WORD: self.word_size} | of_labels

    @classmethod
    def from_json(cls, document: Mapping[str, int]) -> "FeatureSizes":
        """What `as_json` gave."""
        sizes = {key: size for key, size in document.items() if key not in (_WORD, _LABELS)}
        maps = {key.removesuffix(_SIZE).removesuffix(_CHANNELS): size for key, size in sizes.items()}
        return cls(maps, document[_WORD], document.get(_LABELS, 0))


def _key(name: str) -> str:
    return name + (_SIZE if name == "global" else _CHANNELS)
