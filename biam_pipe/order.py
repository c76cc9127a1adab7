"""The order of images in which every row group is read once, in the loader's own process or in its workers.

Images go by windows of neighbouring row groups. A loader gives batch after batch to its workers in turn, so that each
worker would get a part of every window: with workers, each has windows of its own, and the batches take turns.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from pipeline.batches.order import epoch_rng, sequential, shuffled

_IN_ORDER = 16  # row groups of a window, of all workers together: 107 MB of VGG-19's maps
_SHUFFLED = 64  # of one whose images are mixed, as the training of this program does


class Plan(NamedTuple):
    """What an order follows from.

    Attributes:
        seed: of the draw of row groups; None for the order on disk.
        epoch: another one is another draw.
        num_workers: of the loader.
    """

    seed: int | None
    epoch: int
    num_workers: int

    def windows(self, blocks: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
        """Positions of the images of each window, in the order in which they are visited.

        Args:
            blocks: number of the row group of each image, ascending.
        """
        shares = max(self.num_workers, 1)
        if self.seed is None:
            return sequential(blocks, max(_IN_ORDER // shares, 1), len(blocks)).windows
        return shuffled(blocks, epoch_rng(self.seed, self.epoch), max(_SHUFFLED // shares, 1), len(blocks)).windows


class Position(int):
    """A position in the data set that knows its window, in other processes, too."""

    plan: Plan
    window: int
    place: int  # in the window

    @classmethod
    def at(cls, position: int, plan: Plan, window: int, place: int) -> "Position":
        """One with its window."""
        made = cls(position)
        made.plan, made.window, made.place = plan, window, place
        return made

    def __reduce__(self) -> tuple[object, ...]:
        return Position.at, (int(self), self.plan, self.window, self.place)


class ShardOrder(Sampler[int]):
    """Positions in a `FeatureDataset`, for its loader's `sampler`; made by `FeatureDataset.sampler`."""

    def __init__(self, blocks: NDArray[np.int64], plan: Plan, batch_size: int) -> None:
        """Use `FeatureDataset.sampler`."""
        self._blocks, self._plan, self._batch_size = blocks, plan, batch_size

    def set_epoch(self, epoch: int) -> None:
        """Another draw of row groups, where they are drawn: the same for the same seed and epoch."""
        self._plan = self._plan._replace(epoch=epoch)

    def __len__(self) -> int:
        """Images."""
        return len(self._blocks)

    def __iter__(self) -> Iterator[int]:
        """Every image once."""
        windows = self._plan.windows(self._blocks)
        shares = max(self._plan.num_workers, 1)
        edges = [len(windows) * share // shares for share in range(shares + 1)]
        streams = [self._of(windows, edges[share], edges[share + 1]) for share in range(shares)]
        turns = min(sum(map(len, windows[edges[n] : edges[n + 1]])) for n in range(shares)) // self._batch_size
        for _ in range(turns if shares > 1 else 0):
            for stream in streams:
                yield from (next(stream) for _ in range(self._batch_size))
        for stream in streams:
            yield from stream

    def _of(self, windows: Sequence[NDArray[np.int64]], start: int, stop: int) -> Iterator[Position]:
        for number in range(start, stop):
            for place, position in enumerate(windows[number].tolist()):
                yield Position.at(position, self._plan, number, place)
