"""In which order images are visited and how they fall into batches: arrays of positions, computed without data."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Order:
    """One pass over a selection.

    Attributes:
        windows: positions of images; one window is read as a whole, its images in this order.
        sizes: images of each batch. They differ by one at most: a last batch of one or two images would leave its own
            statistics in the batch normalisation, which the released preset takes from the last batch alone.
    """

    windows: tuple[NDArray[np.int64], ...]
    sizes: tuple[int, ...]

    def after(self, batches: int) -> "Order":
        """The pass without its first batches, to go on in the middle of an epoch."""
        skip = sum(self.sizes[:batches])
        windows = []
        for window in self.windows:
            windows.append(window[skip:])
            skip = max(0, skip - len(window))
        return Order(tuple(window for window in windows if len(window)), self.sizes[batches:])

    def share(self, process: int, processes: int) -> "Order":
        """One process' images of every batch: shares of a batch differ by one image at most."""
        edges = [(size * process // processes, size * (process + 1) // processes) for size in self.sizes]
        within = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(size) for size in self.sizes)])
        first, last = np.repeat(np.array(edges, dtype=np.int64).reshape(-1, 2), self.sizes, axis=0).T
        mine = (first <= within) & (within < last)
        stops = np.cumsum([0, *(len(window) for window in self.windows)])
        windows = (
            window[mine[start:stop]] for window, (start, stop) in zip(self.windows, pairwise(stops), strict=True)
        )
        return Order(tuple(window for window in windows if len(window)), tuple(stop - start for start, stop in edges))


def shuffled(block: NDArray[np.int64], rng: np.random.Generator, window_blocks: int, batch_images: int) -> Order:
    """A random order that reads every block once.

    Blocks of rows are drawn in random order from all shards; the images of each `window_blocks` of them are mixed.

    Args:
        block: block of each image, ascending.
        rng: where the order comes from; `epoch_rng` makes it a function of seed and epoch.
        window_blocks: how many blocks are in memory and mixed with each other.
        batch_images: images of a batch at most.
    """
    members = np.split(np.arange(len(block)), np.flatnonzero(np.diff(block)) + 1)
    drawn = rng.permutation(len(members))
    windows = tuple(
        rng.permutation(np.concatenate([members[number] for number in drawn[start : start + window_blocks]]))
        for start in range(0, len(drawn), window_blocks)
    )
    return Order(windows, batch_sizes(len(block), batch_images))


def sequential(block: NDArray[np.int64], window_blocks: int, batch_images: int) -> Order:
    """The images as they lie on disk, `window_blocks` blocks read at a time."""
    members = np.split(np.arange(len(block)), np.flatnonzero(np.diff(block)) + 1)
    windows = tuple(
        np.concatenate(members[start : start + window_blocks]) for start in range(0, len(members), window_blocks)
    )
    return Order(windows, batch_sizes(len(block), batch_images))


def batch_sizes(num_images: int, batch_images: int) -> tuple[int, ...]:
    """Sizes of the fewest batches that hold all images, differing by one at most."""
    batches = -(-num_images // batch_images)
    edges = [number * num_images // batches for number in range(batches + 1)] if batches else []
    return tuple(stop - start for start, stop in pairwise(edges))


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """The random numbers of one epoch's order: the same for the same seed and epoch, whatever happened before."""
    return np.random.default_rng([seed % 2**64, epoch])
