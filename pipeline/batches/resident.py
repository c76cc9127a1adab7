"""Maps of a selection kept in memory once they have been read, where memory holds them all."""

import logging
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.batches.selection import Selection
from pipeline.batches.shards import FeatureShards, dtype_of
from schemas.features import MapSpec

logger = logging.getLogger("biam_pipe.train")

# Of the memory that is free; the rest is for windows under way, the model and the page cache.
_SHARE = 0.5


class ResidentMaps:
    """Maps of the images of one selection. Each image is read from its shard once, in whatever epoch wants it first."""

    def __init__(self, features: FeatureShards, selection: Selection) -> None:
        self._features, self._selection = features, selection
        self._there = np.zeros(len(selection), dtype=np.bool_)
        # Memory that nobody has written to costs nothing yet.
        self._maps = {
            one.column: np.empty((len(selection), *one.shape), dtype_of(one)) for one in wanted_maps(features)
        }

    def read(self, images: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Maps of some images, [image, *shape] by column, in this order. No image may be asked for by two threads."""
        missing = images[~self._there[images]]
        if len(missing):
            found = read_maps(self._features, self._selection, missing)
            for column, values in found.items():
                self._maps[column][missing] = values
            self._there[missing] = True
        return {column: values[images] for column, values in self._maps.items()}


def resident_maps(
    features: FeatureShards, selections: Sequence[Selection], mode: str, processes: int = 1
) -> list[ResidentMaps] | list[None]:
    """Room for the maps of each selection, or None for each where all are to be read from disk in every epoch.

    Args:
        features: the shards.
        selections: what is visited in every epoch.
        mode: `auto` decides by the memory that is free, and says so; `never`.
        processes: that keep them, each for itself.
    """
    images = sum(len(selection) for selection in selections)
    wanted = images * sum(prod(one.shape) * dtype_of(one).itemsize for one in wanted_maps(features))
    room = int(_SHARE * psutil.virtual_memory().available) // processes
    fits = mode == "auto" and wanted <= room
    logger.info(
        "features of %d images (%.2f GB) are %s: half of the free memory is %.2f GB a process, train.resident = %s",
        images,
        wanted / 1e9,
        "kept in memory" if fits else "read from disk in every epoch",
        room / 1e9,
        mode,
    )
    if not fits:
        return [None] * len(selections)
    return [ResidentMaps(features, selection) for selection in selections]


def wanted_maps(features: FeatureShards) -> tuple[MapSpec, MapSpec]:
    """What a model takes: region map and global feature."""
    return features.region, features.global_feature


def read_maps(features: FeatureShards, selection: Selection, images: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Maps of some images from their shards, each row group read once."""
    return features.read(selection.shard[images], selection.row[images], wanted_maps(features))
