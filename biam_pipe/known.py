"""Which images take part in a data set for training loops, and what is known of their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.annotations import Annotations
from pipeline.batches.label_space import LabelSpace
from pipeline.batches.selection import Selection, select
from pipeline.batches.shards import FeatureShards, open_features
from pipeline.engine.ledger import Ledger, files_left
from pipeline.engine.task import RECORD
from pipeline.files.inputs import Inputs, StageFiles
from pipeline.files.storage import Storage
from pipeline.stages import index
from pipeline.stages import split as split_stage
from schemas.command import Command
from schemas.errors import PipelineError, UsageError, unknown_name
from schemas.status import ImageSplit, ImageStatus, LabelRole

_READER = "torch_dataset"
_ROLES = ("seen", "unseen", "all")


@dataclass(frozen=True)
class Chosen:
    """Images that have maps, in shard and row order.

    Attributes:
        shards: where the maps are.
        shard: int32 [image], position of the shard.
        row: int32 [image], row there.
        annotations: of each image; None where no labels are asked for.
        label_names: the columns of the label codes.
    """

    shards: FeatureShards
    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    annotations: Annotations | None = None
    label_names: tuple[str, ...] = ()


def choose(
    storage: Storage,
    left: StageFiles,
    shards: FeatureShards,
    split: str | None,
    labels: str | Sequence[str] | None,
    split_name: str | None,
) -> Chosen:
    """The images of a split, or all, with the labels asked for; as `Features.torch_dataset` says."""
    if split is not None and split not in set(ImageSplit):
        raise unknown_name("split", split, map(str, ImageSplit))
    if split is None and labels is None:
        return Chosen(shards, *_with_maps(shards))
    around = open_features(Inputs(storage, _READER, {"extract": left, **_around(storage, split_name)}))
    space = _columns(around.inputs, () if labels is None else labels)
    splits = list(ImageSplit) if split is None else [ImageSplit(split)]
    found = select(around, space, splits)
    images = reduce(Selection.with_others, (found[each] for each in splits))
    return Chosen(around, images.shard, images.row, None if labels is None else images.annotations, space.name)


def _with_maps(shards: FeatureShards) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Shard and row of every image that is ok; a shard without failures is not opened for that."""
    shard, row = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for position, number in enumerate(shards.numbers):
        receipt = shards.inputs.receipt("extract", number)
        rows = np.arange(receipt.rows, dtype=np.int32)
        if not receipt.counts.keys() <= {ImageStatus.OK}:
            rows = rows[np.array(shards.rows(position).statuses) == ImageStatus.OK]
        shard.append(np.full(len(rows), position, np.int32))
        row.append(rows)
    return np.concatenate(shard), np.concatenate(row)


def _around(storage: Storage, split_name: str | None) -> dict[str, StageFiles]:
    """What index and split left in the data set's folder around the features.

    Raises:
        PipelineError: there is none, or no split.
        UsageError: there are several splits, and none of that name.
    """
    left = files_left(Ledger(storage, "index", index.FOLDER, RECORD), index.OUTPUTS)
    names = sorted(path.split("/")[1] for path in storage.by_age(f"splits/*/{RECORD}.parquet"))
    if not left.receipts or not names:
        raise PipelineError(
            f"{_READER}: labels and splits are not in {storage.shown()}, only features",
            expected="index, annotations, labels.parquet and splits, as in the data set's folder",
            hint="Without split and labels it gives all images. Labels and splits are made by:",
            run=Command("split", dataset=storage.name or None),
        )
    if split_name is None and len(names) > 1:
        raise UsageError(f"{_READER}: there are several splits", got="no split_name", expected=" or ".join(names))
    if split_name is not None and split_name not in names:
        raise unknown_name("split folder", split_name, names)
    folder = f"splits/{split_name or names[0]}"
    return {"index": left, "split": files_left(Ledger(storage, "split", folder, RECORD), split_stage.OUTPUTS)}


def _columns(inputs: Inputs, wanted: str | Sequence[str]) -> LabelSpace:
    """Labels as columns, whether they have a word vector or not: a role's by label index, or some in the order given.

    Raises:
        UsageError: no such label.
    """
    known = {label["label_index"]: label for label in inputs.table("index", "labels").to_pylist()}
    roles = inputs.table("split", "labels").to_pylist()
    listed = {role: sorted(one["label_index"] for one in roles if one["role"] == role) for role in LabelRole}
    seen, unseen = listed[LabelRole.SEEN], listed[LabelRole.UNSEEN]
    if isinstance(wanted, str):
        if wanted not in _ROLES:
            raise UsageError(
                f"{_READER}: labels is {wanted!r}", expected=f"{', '.join(_ROLES)}, or a list of names of labels"
            )
        indices = seen * (wanted != "unseen") + unseen * (wanted != "seen")
    else:
        index_of = {known[number]["name"]: number for number in seen + unseen}
        for name in wanted:
            if name not in index_of:
                raise unknown_name("label", name, index_of)
        indices = [index_of[name] for name in wanted]
    column_of = np.full(1 + max(known, default=-1), -1, np.int32)
    column_of[indices] = np.arange(len(indices), dtype=np.int32)
    return LabelSpace(
        label_index=np.array(indices, np.int32),
        label_id=tuple(known[number]["label_id"] for number in indices),
        name=tuple(known[number]["name"] for number in indices),
        num_seen=sum(number in set(seen) for number in indices),
        vectors=np.zeros((len(indices), 0), np.float32),
        without_vector=(),
        column_of=column_of,
    )
