"""The sizes a model takes from the features and word vectors it is built for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureSizes:
    """What the inputs of a model look like. Height and width of a region map are free.

    Attributes:
        region_channels: channels of the region map.
        global_size: elements of the global feature.
        word_size: elements of a label's word vector.
    """

    region_channels: int
    global_size: int
    word_size: int
