"""From the rows of images to their maps, batch by batch: the one way of stage `extract`, `predict` and `verify`.

Threads decode ahead of the network, and the network works ahead of whoever takes the maps. An image that fails costs
its own row and no other.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.images.children import decoding_children
from pipeline.images.ready import ImageRow, PixelOptions, ReadyImage, begin, finish
from pipeline.machine import stopping
from pipeline.machine.ahead import ahead
from pipeline.machine.device import cores
from pipeline.stores.batch import dtype_of, non_finite
from schemas.features import MapSpec
from schemas.status import ImageStatus

if TYPE_CHECKING:
    from pipeline.backbones.network import Network

_BATCHES_AHEAD = 2  # decoded or being decoded, for each lane of the network: one batch for it, one in the making
_ROWS_A_GOOD_IMAGE = 4  # a batch ends there too, so that a run of failed images does not gather in memory


@dataclass(frozen=True)
class Mapped:
    """Some consecutive images with their maps.

    Attributes:
        images: one whose maps hold NaN or infinity is `non_finite`.
        maps: [image, *shape] by column, as they are stored; only those of images that are `ok` mean anything.
        seconds_wait: that the network had no images.
        seconds_network: in the network, decoding on its device and looking for NaN and infinity.
    """

    images: Sequence[ReadyImage]
    maps: Mapping[str, NDArray[Any]]
    seconds_wait: float
    seconds_network: float

    def __iter__(self) -> Iterator[tuple[ReadyImage, dict[str, NDArray[Any]]]]:
        """Each image with its maps as a batch of one, [1, *shape] by column; they are views."""
        for row, image in enumerate(self.images):
            yield image, {column: values[row : row + 1] for column, values in self.maps.items()}


@contextmanager
def mapped(
    rows: Iterable[ImageRow],
    network: "Network",
    pixels: PixelOptions,
    decode_threads: int | None,
    *,
    isolated: bool = False,
    deadline: float | None = None,
) -> Iterator[Iterator[Mapped]]:
    """All images in order, while threads decode and compute those that come after; the threads end with the block.

    Args:
        decode_threads: None for one a core.
        isolated: decode in processes of their own, where an image may have killed its process before.
        deadline: `time.time()` at which the time budget ends.

    The iterator raises:
        PipelineError: there is no memory for a single image, or the device decodes nothing.
        InterruptedRunError: asked to stop.
        TimeBudgetError: the time budget is used up.
    """
    threads, size = decode_threads or cores(), network.batch_images
    with (
        _decoder(threads, pixels, isolated=isolated) as decoded,
        ahead(decoded, rows, threads, _BATCHES_AHEAD * size * network.lanes, name="decode") as images,
        ahead(
            partial(_computed, network, pixels),
            _batches(images, size, deadline),
            network.lanes,
            network.lanes + 1,
            name="network",
        ) as batches,
    ):
        yield batches


def _decoder(
    threads: int, pixels: PixelOptions, *, isolated: bool
) -> AbstractContextManager[Callable[[ImageRow], ReadyImage]]:
    return decoding_children(threads, pixels) if isolated else nullcontext(partial(begin, options=pixels))


@dataclass(frozen=True)
class _Batch:
    """Images for the network, and how long it had none while they were decoded."""

    images: Sequence[ReadyImage]
    seconds_wait: float


def _batches(images: Iterator[ReadyImage], size: int, deadline: float | None) -> Iterator[_Batch]:
    while (batch := _next_batch(images, size)).images:
        stopping.heed(deadline)
        yield batch


def _next_batch(images: Iterator[ReadyImage], size: int) -> _Batch:
    """The next images, with as many good ones among them as the network takes where so many are left."""
    started = time.perf_counter()
    gathered: list[ReadyImage] = []
    good = 0
    for image in images:
        gathered.append(image)
        good += image.status == ImageStatus.OK
        if good == size or len(gathered) == _ROWS_A_GOOD_IMAGE * size:
            break
    return _Batch(gathered, time.perf_counter() - started)


def _computed(network: "Network", pixels: PixelOptions, batch: _Batch) -> Mapped:
    started = time.perf_counter()
    with network.lane():
        images = finish(batch.images, pixels)
    good = np.array([image.pixels is not None for image in images])
    found = network.run([image.pixels for image in images if image.pixels is not None]) if good.any() else {}
    maps = {spec.column: _spread(found.get(spec.column), good, spec) for spec in network.maps}
    for row, error in non_finite(maps).items():
        images[row] = replace(images[row], status=ImageStatus.NON_FINITE, error=error)
    return Mapped(images, maps, batch.seconds_wait, time.perf_counter() - started)


def _spread(values: NDArray[Any] | None, good: NDArray[np.bool_], spec: MapSpec) -> NDArray[Any]:
    """The map of every image, zero where the image failed."""
    if values is not None and good.all():
        return values.astype(dtype_of(spec), copy=False)
    rows = np.zeros((len(good), *spec.shape), dtype_of(spec))
    if values is not None:
        rows[good] = values
    return rows
