"""Features for torch's `DataLoader`.

A loader asks for images by number. In the order of `ShardOrder` a window of row groups is read at a time; in another
order, what is asked for and no more.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from biam_pipe.known import Chosen
from biam_pipe.order import Plan, Position, ShardOrder
from pipeline.batches.selection import BLOCK_ROWS
from pipeline.batches.shards import READ_THREADS
from schemas.errors import UsageError
from schemas.features import MapSpec

_SHARDS_KEPT = 2  # whose ids stay in memory

Maps = Mapping[str, Tensor]


class FeatureDataset(Dataset[dict[str, Any]]):
    """Images with their maps, and their labels where these are asked for; made by `Features.torch_dataset`.

    A sample is a dict: `image_id`, `index` (its row among all features), each map under its name, a tensor in the
    store's type, and `labels`, int8 codes: +1 present, -1 absent, 0 unknown. Loaders may have workers, forked or
    spawned: each shard is compared with its receipt once for all of them.

    Attributes:
        label_names: the columns of `labels`.
    """

    def __init__(self, chosen: Chosen, maps: Mapping[str, MapSpec], starts: NDArray[np.int64]) -> None:
        """Use `Features.torch_dataset`.

        Args:
            maps: by the names that they have in a sample.
            starts: number of the first row of each shard.
        """
        self.label_names = chosen.label_names
        self._chosen, self._maps, self._starts = chosen, dict(maps), starts
        # Whether a shard was compared with its receipt by any process of a loader: in memory that all of them share.
        self._compared = torch.zeros(len(chosen.shards.numbers), dtype=torch.uint8).share_memory_()
        self._blocks = (chosen.shard.astype(np.int64) << 32) | (chosen.row // BLOCK_ROWS)
        self._ids: dict[int, list[str]] = {}
        self._windows: tuple[Plan, Sequence[NDArray[np.int64]]] | None = None
        self._held: tuple[Plan, int, Maps] | None = None

    def __len__(self) -> int:
        """Images."""
        return len(self._chosen.row)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """One image.

        Raises:
            IndexError: there are fewer.
            IntegrityError: its shard is not as it was written.
        """
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Several images, as loaders ask for those of a batch."""
        wanted = np.array(positions, np.int64)
        wanted[wanted < 0] += len(self)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"positions {min(positions)} to {max(positions)} of {len(self)}")
        shards, rows = self._chosen.shard[wanted].tolist(), self._chosen.row[wanted].tolist()
        samples = [
            {"image_id": self._ids_of(shard)[row], "index": int(self._starts[shard]) + row, **maps}
            for shard, row, maps in zip(shards, rows, self._maps_of(positions, wanted), strict=True)
        ]
        if self._chosen.annotations is not None:
            codes = torch.from_numpy(self._chosen.annotations.codes(wanted))
            samples = [{**sample, "labels": of_image} for sample, of_image in zip(samples, codes, strict=True)]
        return samples

    def __getstate__(self) -> dict[str, Any]:
        """Without what was read."""
        return self.__dict__ | {"_ids": {}, "_windows": None, "_held": None}

    @property
    def image_ids(self) -> list[str]:
        """Ids of all images; the small columns of their shards are read."""
        return self._chosen.shards.image_ids(self._chosen.shard, self._chosen.row)

    def sampler(
        self, *, shuffle: bool = False, seed: int = 0, batch_size: int = 32, num_workers: int = 0
    ) -> ShardOrder:
        """The order that reads every row group once, for the `sampler` of a loader.

        Args:
            shuffle: draw row groups at random and mix the images of 64 of them, as the training of this program does;
                `set_epoch` gives each epoch another draw. False: as they lie on disk.
            seed: of the draw.
            batch_size: that of the loader.
            num_workers: those of the loader; with them each worker reads shards of its own.

        Raises:
            UsageError: a number that no loader has.
        """
        if batch_size < 1 or num_workers < 0:
            raise UsageError(
                "sampler:",
                got=f"batch_size {batch_size}, num_workers {num_workers}",
                expected="those of the loader: at least 1, and at least 0",
            )
        return ShardOrder(self._blocks, Plan(seed if shuffle else None, 0, num_workers), batch_size)

    def _maps_of(self, positions: Sequence[int], wanted: NDArray[np.int64]) -> list[Maps]:
        """The maps of each image, by name."""
        worker = get_worker_info()
        here = 0 if worker is None else worker.num_workers
        ordered = [one for one in positions if isinstance(one, Position) and one.plan.num_workers == here]
        if len(ordered) < len(wanted):
            together = self._read(wanted, READ_THREADS if here == 0 and len(wanted) > BLOCK_ROWS else 1)
            return [{name: values[place] for name, values in together.items()} for place in range(len(wanted))]
        return [{name: values[one.place] for name, values in self._window_of(one).items()} for one in ordered]

    def _window_of(self, position: Position) -> Maps:
        """The maps of all images of a window; the last one read is kept."""
        plan, number = position.plan, position.window
        if self._held is None or self._held[:2] != (plan, number):
            self._held = None  # gone before the next one is read
            if self._windows is None or self._windows[0] != plan:
                self._windows = plan, plan.windows(self._blocks)
            images = self._windows[1][number]
            self._held = plan, number, self._read(images, max(READ_THREADS // max(plan.num_workers, 1), 1))
        return self._held[2]

    def _read(self, images: NDArray[np.int64], threads: int) -> Maps:
        """Maps of some images by name, in the order asked for."""
        shards, shard = self._chosen.shards, self._chosen.shard[images]
        positions = np.unique(shard).tolist()
        for position in positions:
            if self._compared[position]:
                shards.inputs.take_for_compared("extract", "features", shards.numbers[position])
        specs = list(dict.fromkeys(self._maps.values()))
        found = shards.read(shard, self._chosen.row[images], specs, threads)
        self._compared[positions] = 1
        return {name: torch.from_numpy(found[spec.column]) for name, spec in self._maps.items()}

    def _ids_of(self, shard: int) -> list[str]:
        """Ids of a shard; those of the last ones are kept."""
        if shard not in self._ids:
            if len(self._ids) == _SHARDS_KEPT:
                del self._ids[next(iter(self._ids))]
            self._ids[shard] = self._chosen.shards.rows(shard).image_ids
        return self._ids[shard]
