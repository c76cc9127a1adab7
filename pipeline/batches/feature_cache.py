"""Maps kept in memory once they have been read: the device's own memory or the host's, where one of them holds them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.batches.selection import Selection
from pipeline.batches.shards import FeatureShards, dtype_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger("biam_pipe.train")

Memory = Literal["device", "host"]

# Of the host's memory that is free; the rest is for windows under way, the model and the page cache.
_HOST_SHARE = 0.5
# What a step takes of a GPU's memory: libraries, weights, work space; and each image of a batch. On a CPU, in float32
# with 256 channels, an image takes 5 MB; with four times the channels and a weight for each pair of regions 50.
_STEP_BYTES = 2 * 2**30
_STEP_IMAGE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class FreeMemory:
    """Memory that maps may take.

    Attributes:
        host_bytes: of the machine, for one process.
        device_bytes: of the device that computes; 0 where that is a CPU.
    """

    host_bytes: int
    device_bytes: int = 0


@dataclass(frozen=True)
class ImageSet:
    """Images to visit, and their maps in a cache where it has them.

    Attributes:
        selection: the images.
        cached: their maps; None where they are read from the shards at each visit.
    """

    selection: Selection
    cached: "CachedMaps | None" = None

    def __len__(self) -> int:
        return len(self.selection)


class FeatureCache:
    """Memory for the maps of some images on a device; each is read from its shard once, when it is first wanted."""

    def __init__(self, features: FeatureShards, selection: Selection, device: "torch.device") -> None:
        import torch

        self.keys = _keys(selection)
        self.filled = np.zeros(len(selection), dtype=np.bool_)
        # On a CPU, memory that nobody has written to costs nothing yet.
        self.maps: dict[str, Tensor] = {
            spec.column: torch.empty(
                (len(selection), *spec.shape), dtype=torch.from_numpy(np.empty(0, dtype_of(spec))).dtype, device=device
            )
            for spec in features.maps
        }

    def image_set(self, selection: Selection) -> ImageSet:
        """A selection with its maps here; without where there is no memory for some of its images."""
        wanted = _keys(selection)
        rows = np.searchsorted(self.keys, wanted)
        complete = len(wanted) == 0 or (rows[-1] < len(self.keys) and np.array_equal(self.keys[rows], wanted))
        return ImageSet(selection, CachedMaps(self, rows) if complete else None)


@dataclass(frozen=True)
class CachedMaps:
    """The maps of one selection in a cache.

    Attributes:
        cache: it may hold those of other images, too.
        rows: int64 [image], rows of its maps.
    """

    cache: FeatureCache
    rows: NDArray[np.int64]

    def missing(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some images that have not been read yet."""
        return images[~self.cache.filled[self.rows[images]]]

    def put(self, images: NDArray[np.int64], maps: Mapping[str, NDArray[Any]]) -> None:
        """Keep the maps of some images."""
        import torch

        rows = self.rows[images]
        for column, values in maps.items():
            cached = self.cache.maps[column]
            cached[torch.from_numpy(rows).to(cached.device)] = torch.from_numpy(values).to(cached.device)
        self.cache.filled[rows] = True

    def take(self, images: NDArray[np.int64]) -> "dict[str, Tensor]":
        """Copies of the maps of some images, by column, in this order, on the cache's device."""
        import torch

        rows = torch.from_numpy(self.rows[images])
        return {column: cached.index_select(0, rows.to(cached.device)) for column, cached in self.cache.maps.items()}


def free_memory(device: "torch.device", batch_images: int, processes: int) -> FreeMemory:
    """Memory that is free now, without what a step takes.

    Args:
        device: what computes, of this process alone.
        batch_images: of a step.
        processes: that share the machine, each with maps of its own.
    """
    import torch

    host = int(_HOST_SHARE * psutil.virtual_memory().available) // processes
    if device.type != "cuda":
        return FreeMemory(host)
    free_bytes = torch.cuda.mem_get_info(device)[0]
    return FreeMemory(host, max(0, free_bytes - _STEP_BYTES - batch_images * _STEP_IMAGE_BYTES))


def first_that_fits(sizes_bytes: Sequence[int], free: FreeMemory, mode: str) -> tuple[int, Memory] | None:
    """Which of several selections to keep in which memory; None keeps none.

    Args:
        sizes_bytes: of their maps; the first one that fits is taken, on the device sooner than in the host's memory.
        free: memory for them.
        mode: `auto`; `host` leaves the device's memory alone; `never`.
    """
    for number, size_bytes in enumerate(sizes_bytes):
        if mode == "auto" and size_bytes <= free.device_bytes:
            return number, "device"
        if mode != "never" and size_bytes <= free.host_bytes:
            return number, "host"
    return None


def open_cache(
    features: FeatureShards, candidates: Mapping[str, Selection], free: FreeMemory, mode: str, device: "torch.device"
) -> FeatureCache | None:
    """A cache for the first selection whose maps memory holds; None where all maps are read again in every epoch.

    Logs which it is, and why.

    Args:
        candidates: by what they are called.
        free: memory for them.
        mode: see `first_that_fits`.
        device: what computes.
    """
    import torch

    image_bytes = sum(prod(spec.shape) * dtype_of(spec).itemsize for spec in features.maps)
    sizes_bytes = [image_bytes * len(selection) for selection in candidates.values()]
    number, memory = first_that_fits(sizes_bytes, free, mode) or (0, None)
    name, selection = list(candidates.items())[number]
    how_read: dict[Memory | None, str] = {
        None: "read from disk in every epoch",
        "host": "kept in memory",
        "device": f"kept in the memory of {device}",
    }
    logger.info(
        "features of %d images (%s, %.2f GB) are %s: there is room for %.2f GB in memory (half of what is free, for "
        "each process)%s, train.feature_cache = %s",
        *(len(selection), name, sizes_bytes[number] / 1e9, how_read[memory], free.host_bytes / 1e9),
        f" and {free.device_bytes / 1e9:.2f} GB on {device} (beside a step)" if device.type == "cuda" else "",
        mode,
    )
    if memory is None:
        return None
    return FeatureCache(features, selection, device if memory == "device" else torch.device("cpu"))


def _keys(selection: Selection) -> NDArray[np.int64]:
    """One number an image, ascending as the selection is."""
    return (selection.shard.astype(np.int64) << 32) | selection.row
