"""Maps of windows read ahead, by threads or by processes of their own, while the caller works.

Threads are the default: reading and decompressing let go of Python's lock, and nothing has to be handed from one
process to another. Processes come from torch's DataLoader; they hand maps over in shared memory.
"""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.shards import FeatureShards
from pipeline.machine import stopping
from pipeline.machine.ahead import ahead
from schemas.errors import PipelineError

if TYPE_CHECKING:
    from torch import Tensor

Maps = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Rows:
    """Rows to read: of each the position of its shard, and the row in it."""

    shard: NDArray[np.int32]
    row: NDArray[np.int32]


@dataclass(frozen=True)
class Loader:
    """Who reads. What is read, and in which order it comes, does not depend on it.

    Attributes:
        workers: each reads one window ahead; with 0 a window is read when it is wanted.
        kind: what they are: threads, or processes that are forked or spawned.
    """

    workers: int = 1
    kind: Literal["threads", "fork", "spawn"] = "threads"

    def maps(self, features: FeatureShards, windows: Sequence[Rows]) -> AbstractContextManager[Iterator[Maps]]:
        """Region maps and global features of each window; the workers end with the block.

        The iterator raises:
            IntegrityError: a feature shard does not have the bytes of its receipt.
            PipelineError: a process died.
        """
        load = partial(read_maps, features)
        if self.workers == 0 or not windows:
            return nullcontext(map(load, windows))
        if self.kind == "threads":
            return ahead(load, windows, threads=self.workers, limit=self.workers + 1)
        return _by_processes(self, features, windows)


def read_maps(features: FeatureShards, rows: Rows) -> Maps:
    """Region map and global feature of some rows from their shards, each row group read once."""
    return features.read(rows.shard, rows.row, features.model_maps)


@dataclass(frozen=True)
class _Read:
    """What a process hands over.

    Attributes:
        maps: by column; none where there is an error.
        checked: files whose bytes it has compared so far, so that no process of the next epoch does so again.
        error: what went wrong, as it is: torch would put it into a text.
    """

    maps: "dict[str, Tensor]"
    checked: frozenset[str] = frozenset()
    error: PipelineError | None = None


class _Windows:
    """torch's view of the shards, in the process that reads."""

    def __init__(self, features: FeatureShards) -> None:
        self._features = features

    def __getitem__(self, rows: Rows) -> _Read:
        import torch

        try:
            found = read_maps(self._features, rows)
        except PipelineError as error:
            return _Read({}, error=error)
        maps = {column: torch.from_numpy(values) for column, values in found.items()}
        return _Read(maps)


@contextmanager
def _by_processes(loader: Loader, features: FeatureShards, windows: Sequence[Rows]) -> Iterator[Iterator[Maps]]:
    """Processes start with the block; each holds one window, handed over or under way."""
    import torch
    from torch.utils.data import DataLoader

    as_it_is: Callable[[Any], Any] = _as_it_is
    dataset: Any = _Windows(features)
    with stopping.sparing_children(), _handler_kept(signal.SIGCHLD), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more processes than cores, as asked for
        arriving: Any = iter(
            DataLoader(
                dataset,
                batch_size=None,
                sampler=windows,  # a window is told to its process as the rows that it is made of
                num_workers=loader.workers,
                prefetch_factor=1,
                collate_fn=as_it_is,
                multiprocessing_context=loader.kind,
                generator=torch.Generator(),  # else it would draw from the numbers that dropout draws from
            )
        )
    try:
        yield _taken(loader, features, arriving)
    finally:
        arriving._shutdown_workers()  # else they live until the iterator is collected


@contextmanager
def _handler_kept(number: signal.Signals) -> Iterator[None]:
    """After this block a signal does what it did before: torch's own handler raises in whatever runs at that moment."""
    before = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, before)


def _taken(loader: Loader, features: FeatureShards, arriving: "Iterator[_Read]") -> Iterator[Maps]:
    """What the processes hand over, in the order of the windows."""
    while True:
        try:
            read = next(arriving)
        except StopIteration:
            return
        except RuntimeError as error:  # what torch raises where a process is gone
            raise PipelineError(
                f"train: one of {loader.workers} processes that read features died "
                f"({str(error).splitlines()[0]}), expected all to go on. Out of memory, or of shared memory? Run the "
                "same command with --set train.loader=threads; it goes on from the last checkpoint"
            ) from error
        if read.error is not None:
            raise read.error
        yield {column: values.numpy() for column, values in read.maps.items()}


def _as_it_is(read: _Read) -> _Read:
    return read
