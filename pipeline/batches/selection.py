"""Which images of a split can be used, what is known of their labels, and why the others cannot be used."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.batches.annotations import Annotations, from_table
from pipeline.batches.label_space import LabelSpace
from pipeline.batches.shards import FeatureShards
from schemas.command import AGAIN
from schemas.errors import IntegrityError
from schemas.status import ImageSplit, ImageStatus

# Images are drawn by blocks of so many rows of a shard, whatever the row groups of the store: how features lie on disk
# must not change what is learnt. As many as `store.row_group_rows` by default, so that each row group is read once.
BLOCK_ROWS = 32


@dataclass(frozen=True)
class Selection:
    """Images to read, in shard and row order.

    Attributes:
        shard: int32 [image], position of the shard among the feature shards.
        row: int32 [image], row in the shard.
        block: int64 [image], block of `BLOCK_ROWS` rows, numbered through all shards.
        annotations: what is known of them, in the columns asked for.
        expected: images in the split, failed ones included.
        failed: images in the split without features, by status.
        left_out: images that have features but were left out on purpose, by reason.
    """

    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    block: NDArray[np.int64]
    annotations: Annotations
    expected: int
    failed: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    def take(self, images: NDArray[np.int64]) -> "Selection":
        """These images of the selection; the counts stay those of the whole split."""
        return replace(
            self,
            shard=self.shard[images],
            row=self.row[images],
            block=self.block[images],
            annotations=self.annotations.take(images),
        )

    def with_others(self, other: "Selection") -> "Selection":
        """Both selections as one, in shard and row order; `failed` and `left_out` are those of both."""
        order = np.lexsort((np.concatenate([self.row, other.row]), np.concatenate([self.shard, other.shard])))
        columns = self.annotations.num_columns
        both = Selection(
            np.concatenate([self.shard, other.shard]),
            np.concatenate([self.row, other.row]),
            np.concatenate([self.block, other.block]),
            Annotations.concatenate(columns, [self.annotations, other.annotations]),
            self.expected + other.expected,
            dict(Counter(self.failed) + Counter(other.failed)),
            dict(Counter(self.left_out) + Counter(other.left_out)),
        )
        return both.take(order)

    def trainable(self, max_positives: int | None) -> "Selection":
        """Those with at least one positive label in these columns and, where a limit is given, at most so many."""
        positives = self.annotations.positive.lengths
        none = positives == 0
        many = positives > max_positives if max_positives is not None else np.zeros_like(none)
        kept = self.take(np.flatnonzero(~none & ~many))
        return replace(kept, left_out={"without a positive": int(none.sum()), "too many positives": int(many.sum())})


@dataclass(frozen=True)
class Selections:
    """Several splits of one data set, found in one pass over its small tables.

    Attributes:
        splits: usable images of each split asked for.
        unlabelled: images of the whole data set that nobody labelled (tombstones not counted).
    """

    splits: Mapping[ImageSplit, Selection]
    unlabelled: int

    def __getitem__(self, split: ImageSplit) -> Selection:
        return self.splits[split]


@dataclass(frozen=True)
class _Rows:
    """The small columns of one shard.

    Attributes:
        status: [row] of the features.
        split: [row], "" where the image is in none.
        labelled: [row] whether anybody labelled the image.
        annotations: of all rows.
    """

    status: NDArray[np.str_]
    split: NDArray[np.str_]
    labelled: NDArray[np.bool_]
    annotations: Annotations


def select(features: FeatureShards, space: LabelSpace, splits: Sequence[ImageSplit]) -> Selections:
    """Usable images of some splits, with codes in the columns of a label space.

    Args:
        features: the shards to select from; what index and split left stands beside them.
        space: the columns; training hands in `seen_only()`, so that nothing else is ever looked at.
        splits: which splits.

    Raises:
        PipelineError: annotations or splits of a shard are missing.
        IntegrityError: a file is damaged, or the tables of a shard do not list the same images.
    """
    found: dict[ImageSplit, list[Selection]] = {split: [] for split in splits}
    unlabelled = first_block = 0
    for position in range(len(features.numbers)):
        rows = _read_rows(features, position, space)
        unlabelled += int((~rows.labelled & (rows.status != ImageStatus.REMOVED)).sum())
        for split, parts in found.items():
            parts.append(_of_split(rows, split, position, first_block))
        first_block += -(-len(rows.status) // BLOCK_ROWS)
    return Selections({split: _concatenate(parts, len(space)) for split, parts in found.items()}, unlabelled)


def _read_rows(features: FeatureShards, position: int, space: LabelSpace) -> _Rows:
    inputs, number = features.inputs, features.numbers[position]
    annotations = inputs.table("index", "annotations", number, ["image_id", "positive", "negative"])
    splits = inputs.table("split", "images", number)
    rows = features.rows(position)
    annotated, listed = (inputs.file(*file, number).path for file in (("index", "annotations"), ("split", "images")))
    features_path = inputs.file("extract", "features", number).path
    _same_images(features_path, rows.image_ids, {annotated: annotations, listed: splits})
    return _Rows(
        status=np.array(rows.statuses, dtype=np.str_),
        split=splits.column("split").fill_null("").to_numpy().astype(np.str_),
        labelled=annotations.column("positive").is_valid().to_numpy(),
        annotations=from_table(annotations, space.column_of, len(space)),
    )


def _same_images(path: str, ids: list[str], tables: Mapping[str, pa.Table]) -> None:
    """Rows are joined by position, so the tables of a shard have to list the same images in the same order."""
    for other, table in tables.items():
        if table.column("image_id").to_pylist() != ids:
            raise IntegrityError(
                f"{path} and {other} do not list the same images ({len(ids)} and {table.num_rows} rows)",
                expected="the same in the same order",
                hint="Remove both and run the same command again; they are then made anew:",
                run=AGAIN,
            )


def _of_split(rows: _Rows, split: ImageSplit, position: int, first_block: int) -> Selection:
    inside = rows.split == split
    fine = rows.status == ImageStatus.OK
    images = np.flatnonzero(inside & fine & rows.labelled)
    return Selection(
        shard=np.full(len(images), position, dtype=np.int32),
        row=images.astype(np.int32),
        block=first_block + images // BLOCK_ROWS,
        annotations=rows.annotations.take(images),
        expected=int(inside.sum()),
        failed=Counter(rows.status[inside & ~fine].tolist()),
        left_out={"unlabelled": int((inside & fine & ~rows.labelled).sum())},
    )


def _concatenate(parts: Sequence[Selection], num_columns: int) -> Selection:
    failed: Counter[str] = Counter()
    for part in parts:
        failed.update(part.failed)
    return Selection(
        shard=np.concatenate([part.shard for part in parts]),
        row=np.concatenate([part.row for part in parts]),
        block=np.concatenate([part.block for part in parts]),
        annotations=Annotations.concatenate(num_columns, [part.annotations for part in parts]),
        expected=sum(part.expected for part in parts),
        failed=dict(sorted(failed.items())),
        left_out={"unlabelled": sum(part.left_out["unlabelled"] for part in parts)},
    )
