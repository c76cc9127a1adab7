"""Maps kept in memory once they have been read, the device's own or the host's, where one of them holds them."""

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

Where = Literal["device", "host"]

# Of the host's memory that is free; the rest is for windows under way, the model and the page cache.
_HOST_SHARE = 0.5
# What a step takes of a GPU's memory: libraries, weights, work space; and each image of a batch. On a CPU, in float32
# with 256 channels, an image takes 5 MB; with four times the channels and a weight for each pair of regions 50.
_STEP_BYTES = 2 * 2**30
_STEP_IMAGE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Room:
    """Free memory that maps may take.

    Attributes:
        host_bytes: of the machine, for one process.
        device_bytes: of the device that computes; 0 where that is a CPU.
    """

    host_bytes: int
    device_bytes: int = 0


@dataclass(frozen=True)
class Images:
    """Images to visit, and their maps where those are kept in memory."""

    selection: Selection
    kept: "Kept | None" = None

    def __len__(self) -> int:
        return len(self.selection)


class Store:
    """Room for the maps of some images on a device; each image is read from its shard once, when it is first wanted."""

    def __init__(self, features: FeatureShards, selection: Selection, device: "torch.device") -> None:
        import torch

        self.key = _key(selection)
        self.there = np.zeros(len(selection), dtype=np.bool_)
        # On a CPU, memory that nobody has written to costs nothing yet.
        self.maps: dict[str, Tensor] = {
            one.column: torch.empty(
                (len(selection), *one.shape), dtype=torch.from_numpy(np.empty(0, dtype_of(one))).dtype, device=device
            )
            for one in features.model_maps
        }

    def images(self, selection: Selection) -> Images:
        """A selection with its place here; without one where the store lacks some of its images."""
        wanted = _key(selection)
        at = np.searchsorted(self.key, wanted)
        there = len(wanted) == 0 or (at[-1] < len(self.key) and np.array_equal(self.key[at], wanted))
        return Images(selection, Kept(self, at) if there else None)


@dataclass(frozen=True)
class Kept:
    """The maps of one selection in a store.

    Attributes:
        at: int64 [image], places in the store.
    """

    store: Store
    at: NDArray[np.int64]

    def missing(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some images that have not been read yet."""
        return images[~self.store.there[self.at[images]]]

    def put(self, images: NDArray[np.int64], maps: Mapping[str, NDArray[Any]]) -> None:
        """Keep the maps of some images."""
        import torch

        at = self.at[images]
        for column, values in maps.items():
            kept = self.store.maps[column]
            kept[torch.from_numpy(at).to(kept.device)] = torch.from_numpy(values).to(kept.device)
        self.store.there[at] = True

    def take(self, images: NDArray[np.int64]) -> "dict[str, Tensor]":
        """Copies of the maps of some images, by column, in this order, where they are kept."""
        import torch

        at = torch.from_numpy(self.at[images])
        return {column: kept.index_select(0, at.to(kept.device)) for column, kept in self.store.maps.items()}


def room(device: "torch.device", batch_images: int, processes: int) -> Room:
    """Memory that is free now, without what a step takes.

    Args:
        device: what computes, of this process alone.
        batch_images: of a step.
        processes: that share the machine, each with maps of its own.
    """
    import torch

    host = int(_HOST_SHARE * psutil.virtual_memory().available) // processes
    if device.type != "cuda":
        return Room(host)
    free = torch.cuda.mem_get_info(device)[0]
    return Room(host, max(0, free - _STEP_BYTES - batch_images * _STEP_IMAGE_BYTES))


def place(sizes_bytes: Sequence[int], free: Room, mode: str) -> tuple[int, Where] | None:
    """Which of several selections to keep, and where; None keeps none.

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


def keep(
    features: FeatureShards, candidates: Mapping[str, Selection], free: Room, mode: str, device: "torch.device"
) -> Store | None:
    """Room for the maps of the first selection that memory holds, or None where all maps are read again in every epoch.

    Says which it is, and why.

    Args:
        candidates: by what they are called.
        free: memory for them.
        mode: see `place`.
        device: what computes.
    """
    import torch

    image_bytes = sum(prod(one.shape) * dtype_of(one).itemsize for one in features.model_maps)
    sizes = [image_bytes * len(selection) for selection in candidates.values()]
    found = place(sizes, free, mode)
    number, where = found or (0, None)
    name, selection = list(candidates.items())[number]
    told: dict[Any, str] = {
        None: "read from disk in every epoch",
        "host": "kept in memory",
        "device": f"kept in the memory of {device}",
    }
    logger.info(
        "features of %d images (%s, %.2f GB) are %s: there is room for %.2f GB in memory (half of what is free, for "
        "each process)%s, train.resident = %s",
        *(len(selection), name, sizes[number] / 1e9, told[where], free.host_bytes / 1e9),
        f" and {free.device_bytes / 1e9:.2f} GB on {device} (beside a step)" if device.type == "cuda" else "",
        mode,
    )
    if where is None:
        return None
    return Store(features, selection, device if where == "device" else torch.device("cpu"))


def _key(selection: Selection) -> NDArray[np.int64]:
    """One number an image, ascending as the selection is."""
    return (selection.shard.astype(np.int64) << 32) | selection.row
