"""The features of all images, read as they are asked for and compared with their receipts the first time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.shards import ShardRows
from pipeline.batches.shards import open_features as open_shards
from pipeline.files.inputs import Inputs, StageFiles
from pipeline.files.storage import Storage
from schemas.errors import PipelineError
from schemas.features import FeatureSpec, MapSpec
from schemas.receipts import status_counts
from schemas.status import ImageStatus

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from biam_pipe.dataset import FeatureDataset

READER = "open_features"
_SHARDS_KEPT = 4  # whose ids and statuses stay in memory, 100 kB each


@dataclass(frozen=True)
class Row:
    """One image. Its maps are read when they are asked for: `row["region"]`, `row["global"]`, or by column.

    Attributes:
        index: its number among all rows.
        image_id: as the data set calls it.
        status: `ok`, or why it has no maps; `schemas/status.py` lists what there is.
        error: what was found, where it is not `ok`.
    """

    index: int
    image_id: str
    status: str
    error: str | None
    features: "Features"

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A map by role (`region`, `global`) or column: [*shape], an array of its own.

        Raises:
            PipelineError: there is no such map, or the image failed.
            IntegrityError: its shard is not as it was written.
        """
        found: NDArray[Any] = self.features.numpy(name, [self.index])[0]
        return found

    def torch(self, name: str) -> "Tensor":
        """The same as a tensor."""
        return self.features.torch(name, [self.index])[0]

    def __repr__(self) -> str:
        return f"Row({self.index}, {self.image_id!r}, {self.status})"


class Features(Sequence[Row]):
    """Features of all images of a data set, in the order of its index: a sequence of rows, failed images among them.

    `features[7]` and `features["a.jpg"]` give a row, `numpy` and `torch` a map of several, `torch_dataset` what a
    training loop takes, `to_arrow` all of it. Nothing is read before, and nothing is open between two calls: an object
    may be pickled, and used in processes that are forked.
    """

    def __init__(self, storage: Storage, left: StageFiles, *, complete: bool) -> None:
        """Use `open_features`.

        Args:
            storage: the data set's folder, or the feature folder alone.
            left: what `extract` left there.
            complete: whether all shards of the data set are there.
        """
        self.complete = complete
        self._storage, self._left = storage, left
        self._shards = open_shards(Inputs(storage, READER, {"extract": left}))
        rows = [self._shards.inputs.receipt("extract", number).rows for number in self._shards.numbers]
        self._starts = np.cumsum([0, *rows])
        self._kept: dict[int, ShardRows] = {}

    @property
    def spec(self) -> FeatureSpec:
        """All that shaped the numbers: backbone, weights by hash, preprocessing, and the maps with their shapes."""
        return self._shards.spec

    @property
    def path(self) -> Path:
        """The feature folder."""
        return Path(self._storage.shown(self._left.folder))

    @property
    def counts(self) -> dict[str, int]:
        """Rows by status, as the receipts count them."""
        return dict(Counter(status_counts(self._left.receipts)).most_common())

    def __len__(self) -> int:
        """Rows, failed images included."""
        return int(self._starts[-1])

    @cached_property
    def ids(self) -> list[str]:
        """Ids of all images; the small columns of all shards are read."""
        return [image_id for rows in self._each_rows() for image_id in rows.image_ids]

    @cached_property
    def statuses(self) -> list[str]:
        """Status of each image; read as `ids` is."""
        return [status for rows in self._each_rows() for status in rows.statuses]

    @cached_property
    def ok(self) -> NDArray[np.int64]:
        """Numbers of the rows that have maps: [row]."""
        return np.flatnonzero(np.array(self.statuses) == ImageStatus.OK)

    @overload
    def __getitem__(self, image: int | str) -> Row: ...
    @overload
    def __getitem__(self, image: slice) -> list[Row]: ...
    def __getitem__(self, image: int | str | slice) -> Row | list[Row]:
        """A row by number or id, or some by a slice.

        Raises:
            IndexError: there are fewer rows.
            KeyError: no image has that id.
            TypeError: neither a whole number, nor an id, nor a slice.
            IntegrityError: the shard is not as it was written.
        """
        if isinstance(image, slice):
            return [self._row(number) for number in range(*image.indices(len(self)))]
        if isinstance(image, str):
            if image not in self._number_of:
                raise KeyError(f"no image {image!r} among the {len(self)} of {self.path}")
            return self._row(self._number_of[image])
        image = index(image)  # of numpy's numbers a plain one, and of 1.5 an error
        number = image + len(self) if image < 0 else image
        if not 0 <= number < len(self):
            raise IndexError(f"row {image} of {len(self)} in {self.path}")
        return self._row(number)

    def numpy(self, name: str, rows: "Sequence[int] | NDArray[Any] | slice") -> NDArray[Any]:
        """A map of several images: [row, *shape], an array of its own, in the order asked for.

        Args:
            name: its role (`region`, `global`) or its column.
            rows: their numbers; several of one shard are read at once, so that many come faster than one by one.

        Raises:
            PipelineError: there is no such map, or one of the images failed: `ok` tells which did not.
            IndexError: there are fewer rows.
            IntegrityError: a shard is not as it was written.
        """
        numbers = self._numbers(rows)
        shards = self._shards.reading([name])
        shard, row = self._places(numbers)
        self._require_ok(numbers, shard, row)
        return shards.read(shard, row, shards.maps)[shards.maps[0].column]

    def torch(self, name: str, rows: "Sequence[int] | NDArray[Any] | slice") -> "Tensor":
        """The same as a tensor."""
        import torch

        return torch.from_numpy(self.numpy(name, rows))

    def to_arrow(self) -> "pa.RecordBatchReader":
        """All rows for Arrow, a row group at a time: image_id, status, error, and each map as tensors of fixed shape.

        A map is null where the image failed. `read_all()` gives a table, which has to fit into memory.

        The reader raises:
            IntegrityError: a shard is not as it was written.
        """
        from biam_pipe.arrow import reader

        return reader(self._shards)

    def torch_dataset(
        self,
        split: str | None = None,
        labels: str | Sequence[str] | None = None,
        maps: Sequence[str] | None = None,
        split_name: str | None = None,
    ) -> "FeatureDataset":
        """Images that have maps, as a data set for `torch.utils.data.DataLoader`; see `FeatureDataset`.

        Args:
            split: `train`, `validation` or `test`; None for all images, labelled or not where no labels are asked for.
            labels: `seen`, `unseen`, `all` (seen ones first), or names of labels; None for none.
            maps: by role or column; None for all of them.
            split_name: folder below `splits/`, where there are several.

        Raises:
            UsageError: no such split or label.
            PipelineError: the folders with annotations and splits are not around the features, or there is no such map.
            IntegrityError: a file is not as it was written.
        """
        from biam_pipe.dataset import FeatureDataset
        from biam_pipe.known import choose

        chosen = choose(self._storage, self._left, self._shards, split, labels, split_name)
        return FeatureDataset(chosen, self._named(maps), self._starts)

    def __contains__(self, image: object) -> bool:
        """Whether there is an image of that id."""
        return image in self._number_of

    def __repr__(self) -> str:
        maps = ", ".join(f"{one.column} {one.shape}" for one in self.spec.maps)
        return f"Features({str(self.path)!r}: {len(self)} rows of {self.spec.backbone}, {maps})"

    def _named(self, names: Sequence[str] | None) -> dict[str, MapSpec]:
        """Maps by the names under which they are given out: a role where one map alone has it."""
        if names is not None:
            return dict(zip(names, self._shards.reading(names).maps, strict=True))
        roles = Counter(one.role for one in self.spec.maps)
        return {one.role if roles[one.role] == 1 else one.column: one for one in self.spec.maps}

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {image_id: number for number, image_id in enumerate(self.ids)}

    def _row(self, number: int) -> Row:
        (shard,), (row,) = self._places(np.array([number]))
        rows = self._rows_of(int(shard))
        return Row(number, rows.image_ids[row], rows.statuses[row], rows.errors[row], self)

    def _numbers(self, rows: "Sequence[int] | NDArray[Any] | slice") -> NDArray[np.int64]:
        """Row numbers as numpy would take them: also from the end, or one truth value a row."""
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)))
        given = np.asarray(rows)
        if given.dtype == np.bool_:
            if given.shape != (len(self),):
                raise IndexError(f"{given.size} truth values for {len(self)} rows in {self.path}")
            return np.flatnonzero(given)
        numbers = given.astype(np.int64, casting="same_kind") if len(given) else np.zeros(0, np.int64)
        return np.where(numbers < 0, numbers + len(self), numbers)

    def _places(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Position of the shard, and row there, of each."""
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < len(self)):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} of {len(self)} in {self.path}")
        shard = np.searchsorted(self._starts, numbers, side="right") - 1
        return shard.astype(np.int32), (numbers - self._starts[shard]).astype(np.int32)

    def _require_ok(self, numbers: NDArray[np.int64], shard: NDArray[np.int32], row: NDArray[np.int32]) -> None:
        for position in np.unique(shard).tolist():
            counts = self._shards.inputs.receipt("extract", self._shards.numbers[position]).counts
            if counts.keys() <= {ImageStatus.OK}:
                continue
            rows = self._rows_of(position)
            for number in numbers[shard == position].tolist():
                at = number - int(self._starts[position])
                if rows.statuses[at] != ImageStatus.OK:
                    raise PipelineError(
                        f"{READER}: image {rows.image_ids[at]!r} (row {number}) has no maps",
                        found=f"{rows.statuses[at]}: {rows.errors[at]}",
                        expected="ok, as the rows that `ok` lists are",
                    )

    def _each_rows(self) -> Iterator[ShardRows]:
        return map(self._shards.rows, range(len(self._shards.numbers)))

    def _rows_of(self, position: int) -> ShardRows:
        """Ids, statuses and errors of a shard; those of the last few shards are kept."""
        if position not in self._kept:
            if len(self._kept) == _SHARDS_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[position] = self._shards.rows(position)
        return self._kept[position]
