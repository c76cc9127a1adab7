"""Batches of a selection in a given order, read ahead while the caller works.

A row group is read and decompressed once for each window that has images of it: once an epoch where it is no larger
than a block. In memory are the window in use and those that the workers read, one each: at the defaults, 2 windows of
64 blocks of 32 images with 209 kB of float16 maps each, 0.86 GB at most.

Threads read, not processes: both reading and decompressing let go of Python's lock. On two cores four threads read
2,212 images/s, four forked processes 1,449: they start anew in every epoch and copy maps through shared memory.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.feature_cache import CachedMaps, ImageSet
from pipeline.batches.order import Order
from pipeline.batches.selection import Selection
from pipeline.batches.shards import FeatureShards
from pipeline.machine.ahead import ahead

if TYPE_CHECKING:
    from torch import Tensor

Maps = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Batch:
    """Some images, ready for a model. Maps are arrays, or tensors where they are cached, in the store's type.

    Attributes:
        images: int64 [image], positions in the selection.
        maps: [image, *shape] each, those that the features are read for.
        codes: int8 [image, label].
    """

    images: NDArray[np.int64]
    maps: "tuple[NDArray[np.floating] | Tensor, ...]"
    codes: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.images)


def batches(features: FeatureShards, images: ImageSet | Selection, order: Order, workers: int = 1) -> Generator[Batch]:
    """The batches of one pass; close the iterator when leaving it early, so that its threads end.

    Args:
        features: where the maps come from, and which.
        images: what is visited.
        order: in which order; how many threads read and what is kept in memory changes nothing about it.
        workers: threads that each read one window ahead; with 0 a window is read when it is wanted.

    Raises:
        IntegrityError: a feature shard does not have the bytes of its receipt.
    """
    image_set = images if isinstance(images, ImageSet) else ImageSet(images)
    selection, cached = image_set.selection, image_set.cached
    missing = [window if cached is None else cached.missing(window) for window in order.windows]
    columns = [spec.column for spec in features.maps]
    with _read_ahead(features, selection, [window for window in missing if len(window)], workers) as arriving:
        windows = _arrived(cached, zip(order.windows, missing, strict=True), arriving, columns)
        for positions, *read in _regroup(windows, order.sizes):
            maps = dict(zip(columns, read, strict=True)) if cached is None else cached.take(positions)
            yield Batch(positions, tuple(maps[column] for column in columns), selection.annotations.codes(positions))


def _read_ahead(
    features: FeatureShards, selection: Selection, windows: Sequence[NDArray[np.int64]], workers: int
) -> AbstractContextManager[Iterator[Maps]]:
    """The maps of the images of each window; the threads end with the block."""

    def read(window: NDArray[np.int64]) -> Maps:
        return features.read(selection.shard[window], selection.row[window], features.maps)

    return ahead(read, windows, workers, workers + 1) if workers else nullcontext(map(read, windows))


def _arrived(
    cached: CachedMaps | None,
    windows: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]],
    arriving: Iterator[Maps],
    columns: Sequence[str],
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Positions of the images of each window, side by side with their maps; without where those are cached.

    Args:
        windows: all images of each, and those to be read.
        arriving: the maps of the latter, for each window that has such.
    """
    for window, missing in windows:
        maps = next(arriving) if len(missing) else None
        if cached is None:
            assert maps is not None, "no window is empty"
            yield (window, *(maps.pop(column) for column in columns))  # not held while the next window is waited for
            continue
        if maps is not None:
            cached.put(missing, maps)
            maps = None
        yield (window,)


def _regroup(windows: Iterator[tuple[NDArray[Any], ...]], sizes: Sequence[int]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Windows cut and joined to batches of these sizes, which add up to all of them.

    The batches are copies: they do not keep a window alive, and their memory is aligned alike wherever in a window they
    lay, so that a run that starts in the middle of an epoch calls the same kernels as one that did not stop.
    """
    window: tuple[NDArray[Any], ...] | None = None
    used = 0
    for size in sizes:
        parts: list[tuple[NDArray[Any], ...]] = []
        missing = size
        while missing:
            if window is None or used == len(window[0]):
                window, used = None, 0  # gone before the next is waited for
                window = next(windows)
            parts.append(tuple(column[used : used + missing] for column in window))
            taken = len(parts[-1][0])
            used, missing = used + taken, missing - taken
        yield tuple(np.concatenate(column) for column in zip(*parts, strict=True))
