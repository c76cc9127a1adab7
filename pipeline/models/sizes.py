"""The sizes a model takes from the features and word vectors it is built for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.features import MapSpec

_SIZE, _CHANNELS, _WORD = "_size", "_channels", "word_size"


@dataclass(frozen=True)
class FeatureSizes:
    """What the inputs of a model look like. Height and width of a region map are free.

    Attributes:
        maps: elements along the last axis of each map that the model reads, by role or column: channels of a region
            map, elements of a global feature.
        word_size: elements of a label's word vector.
    """

    maps: Mapping[str, int]
    word_size: int

    @classmethod
    def of(cls, needs: Sequence[str], maps: Sequence[MapSpec], word_size: int) -> "FeatureSizes":
        """The sizes of these maps, which are those of `needs`."""
        return cls({name: spec.shape[-1] for name, spec in zip(needs, maps, strict=True)}, word_size)

    def as_json(self) -> dict[str, int]:
        """As it stands in a model file: `region_channels`, `global_size`, `word_size`."""
        return {_key(name): size for name, size in self.maps.items()} | {_WORD: self.word_size}

    @classmethod
    def from_json(cls, document: Mapping[str, int]) -> "FeatureSizes":
        """What `as_json` gave."""
        maps = {key.removesuffix(_SIZE).removesuffix(_CHANNELS): size for key, size in document.items() if key != _WORD}
        return cls(maps, document[_WORD])


def _key(name: str) -> str:
    return name + (_SIZE if name == "global" else _CHANNELS)
