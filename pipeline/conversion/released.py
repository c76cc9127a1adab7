"""The per-image HDF5 files that the authors of BiAM shared, made of our features, so that their code runs on them.

`schemas.released` says what is in them; labels stand in the order of the label space, seen ones first. Only the region
map is in such a file. Their code takes the names of the images from pickles, which hold a plain list each.
"""

import pickle
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.batches.annotations import Annotations, from_table
from pipeline.batches.label_space import read_roles
from pipeline.batches.shards import FeatureShards
from pipeline.conversion.form import Handover, Write
from pipeline.files.inputs import Inputs
from pipeline.machine.ahead import ahead
from pipeline.machine.device import cores
from pipeline.stores.hdf5 import sink
from pipeline.stores.reader import Reader
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.features import MapSpec
from schemas.released import FEATURES, LABELS, key
from schemas.status import ImageSplit, ImageStatus, LabelRole

VERSION = 1
READS = ("index", "extract", "split", "unseen")

_GZIP_LEVEL = 4  # HDF5's own default
_AHEAD = 4  # images compressed or waiting to be written, for each core
_SPLITS = {"train": (ImageSplit.TRAIN, ImageSplit.VALIDATION), "test": (ImageSplit.TEST,)}


@dataclass(frozen=True)
class Image:
    """One image of a released file.

    Attributes:
        key: its name there.
        region: the gzip-compressed float32 values of [channel, region].
        codes: int8 [label], seen labels first.
    """

    key: str
    region: bytes
    codes: NDArray[np.int8]


@dataclass(frozen=True)
class Columns:
    """Labels by column: the seen ones, then the unseen ones.

    Attributes:
        column_of: int32 [label_index], -1 for a label that is listed no more.
    """

    column_of: NDArray[np.int32]
    num_seen: int
    num_unseen: int

    def __len__(self) -> int:
        return self.num_seen + self.num_unseen


def jobs(handover: Handover) -> dict[str, Write]:
    """One HDF5 file for training and one for testing, and for each the names of its images."""
    prefix = handover.dataset.released_name or handover.dataset.name
    made: dict[str, Write] = {}
    for part, named in (("train", "img_names.pkl"), ("test", "test_img_names.pkl")):
        made[f"{prefix}_{part}.h5"] = partial(write, features=handover.features, part=part)
        made[named] = partial(write_names, features=handover.features, part=part)
    return made


def opened(out: str) -> str:
    """What reads which of the files."""
    return f"h5py, {out}/*.h5; pickle, the names in {out}/*.pkl"


def columns(inputs: Inputs) -> Columns:
    """The columns, from what index, split and a draw of unseen labels left."""
    labels = inputs.table("index", "labels", columns=["label_index"])["label_index"].to_pylist()
    roles = read_roles(inputs).to_pylist()
    order = sorted(roles, key=lambda label: (label["role"] != LabelRole.SEEN, label["label_index"]))
    column_of = np.full(1 + max(labels, default=-1), -1, dtype=np.int32)
    column_of[[label["label_index"] for label in order]] = np.arange(len(order))
    seen = sum(label["role"] == LabelRole.SEEN for label in roles)
    return Columns(column_of, seen, len(roles) - seen)


def write(path: Path, features: FeatureShards, part: str) -> int:
    """Write the file of a part of the data set; returns how many images are in it. A few of them are in memory.

    Args:
        features: the shards; what index and split left stands beside them.
        part: `train` (our training and validation images) or `test`.

    Raises:
        PipelineError: two images would get the same name, or the data set has no such images.
        IntegrityError: a shard is not what its receipt says.
    """
    labels, (region,) = columns(features.inputs), features.reading(["region"]).maps
    width = labels.num_seen if part == "train" else len(labels)
    channels, regions = region.shape[-1], int(np.prod(region.shape[:-1]))
    written = 0
    images = _images(features, region, labels, part)
    threads = cores()
    with (
        sink(path) as target,
        h5py.File(target, "w", libver=("v110", "v110")) as file,  # links of many names in an old file are a slow list
        ahead(_compressed, images, threads, _AHEAD * threads, name="gzip") as done,
    ):
        for one in done:
            if one.key + FEATURES in file:
                raise PipelineError(
                    f"convert: two images are named {one.key!r} in a released file, where '/' becomes '_';",
                    expected="one",
                    hint="Rename one of them: this data set does not fit that form",
                )
            shape = (channels, regions)
            stored = file.create_dataset(
                one.key + FEATURES, shape, "<f4", chunks=shape, compression="gzip", compression_opts=_GZIP_LEVEL
            )
            stored.id.write_direct_chunk((0, 0), one.region)
            file[one.key + LABELS] = one.codes[:width]
            file[f"{one.key}{LABELS}_{labels.num_unseen}"] = one.codes[labels.num_seen :]
            written += 1
    if not written:
        raise PipelineError(
            f"convert: no {part} image has features", expected="at least 1", hint="See:", run=Command("status")
        )
    return written


def write_names(path: Path, features: FeatureShards, part: str) -> int:
    """Write the pickle of the names of the images in the file of a part; returns 0, as no image is in it.

    Training images stand before validation images: the authors' code trains on the first 80 % of the list.
    """
    names: dict[str, list[str]] = {split: [] for split in _SPLITS[part]}
    for position in range(len(features.numbers)):
        with features.open(position) as reader:
            ids = reader.image_ids()
            for row, split in _usable(features, position, reader, part).items():
                names[split].append(key(ids[row]))
    document = {"img_names": [name for of_split in names.values() for name in of_split]}
    path.write_bytes(pickle.dumps(document, protocol=2))  # their Python is an old one
    return 0


def _usable(features: FeatureShards, position: int, reader: Reader, part: str) -> dict[int, str]:
    """The rows of a shard whose images are in a part and have features, with their split."""
    splits = features.inputs.table("split", "images", features.numbers[position], ["split"])["split"].to_pylist()
    rows = enumerate(zip(splits, reader.statuses(), strict=True))
    return {row: split for row, (split, status) in rows if split in _SPLITS[part] and status == ImageStatus.OK}


def _images(
    features: FeatureShards, region: MapSpec, labels: Columns, part: str
) -> Iterator[tuple[str, NDArray[Any], NDArray[np.int8]]]:
    """Key, region map and codes of each usable image, in index order."""
    inputs = features.inputs
    for position, number in enumerate(features.numbers):
        known = inputs.table("index", "annotations", number, ["image_id", "positive", "negative"])
        annotations: Annotations = from_table(known, labels.column_of, len(labels))
        with features.open(position) as reader:
            ids, usable = reader.image_ids(), _usable(features, position, reader, part)
            for group in reader.row_groups:
                rows = [row for row in group if row in usable]
                if not rows:
                    continue
                maps, codes = reader.read(group, region.column), annotations.codes(np.array(rows))
                for row, row_codes in zip(rows, codes, strict=True):
                    yield key(ids[row]), maps[row - group.start], row_codes


def _compressed(image: tuple[str, NDArray[Any], NDArray[np.int8]]) -> Image:
    name, region, codes = image
    values = np.ascontiguousarray(region.reshape(-1, region.shape[-1]).T, dtype="<f4")
    return Image(name, zlib.compress(values.data, _GZIP_LEVEL), codes)
