"""Batches of a selection in a given order, read ahead by threads while the caller works.

A row group is read and decompressed once for each window that has images of it: once an epoch where it is no larger
than a block. In memory are the window in use and those that the threads read, one each: at the defaults, 2 windows of
64 blocks of 32 images with 209 kB of float16 maps each, 0.86 GB at most. Threads, not processes: reading and
decompressing let go of Python's lock, and nothing has to be copied from one process to another.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.order import Order
from pipeline.batches.resident import ResidentMaps, read_maps, wanted_maps
from pipeline.batches.selection import Selection
from pipeline.batches.shards import FeatureShards
from pipeline.core.ahead import ahead


@dataclass(frozen=True)
class Batch:
    """Some images, ready for a model.

    Attributes:
        images: int64 [image], positions in the selection.
        region: [image, height, width, channel], in the type of the store.
        global_feature: [image, channel], in the type of the store.
        codes: int8 [image, label].
    """

    images: NDArray[np.int64]
    region: NDArray[np.floating]
    global_feature: NDArray[np.floating]
    codes: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class _Window:
    """Maps of some images, in the order of the images."""

    images: NDArray[np.int64]
    region: NDArray[np.floating]
    global_feature: NDArray[np.floating]

    def cut(self, start: int, stop: int) -> "_Window":
        return _Window(self.images[start:stop], self.region[start:stop], self.global_feature[start:stop])


def batches(
    features: FeatureShards,
    selection: Selection,
    order: Order,
    workers: int = 1,
    resident: ResidentMaps | None = None,
) -> Generator[Batch]:
    """The batches of one pass; close the iterator when leaving it early, so that its threads end.

    Args:
        features: where the maps come from.
        selection: the images.
        order: in which order; what `workers` and `resident` are changes nothing about it.
        workers: threads, each a window ahead; 0 reads a window when it is wanted.
        resident: maps of this selection kept in memory; None reads them from disk.

    Raises:
        IntegrityError: a feature shard does not have the bytes of its receipt.
    """
    load = partial(_load, features, selection, resident)
    with _windows(load, order, workers) as windows:
        for whole in _regroup(windows, order.sizes):
            yield Batch(whole.images, whole.region, whole.global_feature, selection.annotations.codes(whole.images))


def _windows(
    load: Callable[[NDArray[np.int64]], _Window], order: Order, workers: int
) -> AbstractContextManager[Iterator[_Window]]:
    if workers == 0:
        return nullcontext(map(load, order.windows))
    return ahead(load, order.windows, threads=workers, limit=workers + 1)


def _load(
    features: FeatureShards, selection: Selection, resident: ResidentMaps | None, images: NDArray[np.int64]
) -> _Window:
    """The maps of some images."""
    maps = resident.read(images) if resident is not None else read_maps(features, selection, images)
    return _Window(images, *(maps[one.column] for one in wanted_maps(features)))


def _regroup(windows: Iterator[_Window], sizes: Sequence[int]) -> Iterator[_Window]:
    """Windows cut and joined to pieces of these sizes, which add up to all of them.

    The pieces are copies: they do not keep a window alive, and their memory is aligned alike wherever in a window they
    lay, so that a run that starts in the middle of an epoch calls the same kernels as one that did not stop.
    """
    window, used = None, 0
    for size in sizes:
        parts: list[_Window] = []
        missing = size
        while missing:
            if window is None or used == len(window.images):
                window, used = next(windows), 0
            part = window.cut(used, used + missing)
            parts.append(part)
            used, missing = used + len(part.images), missing - len(part.images)
        yield _Window(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.region for part in parts]),
            np.concatenate([part.global_feature for part in parts]),
        )
