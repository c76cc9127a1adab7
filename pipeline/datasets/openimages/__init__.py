"""Data set `openimages`: Open Images V4 (release 2018_04) from its official CSVs, images and labels joined by ImageID.

A human verification says that a label is present or absent; every other label of the image is unknown. Images come from
the public bucket, object by object or out of its tar archives, which holds all of validation and test but only the
boxable ones of train, from Flickr as they were uploaded, with the size and MD5 that the release promises, or as
Flickr's thumbnail. Each worker for I/O reads each archive that it needs from its start: `engine.io_workers = 1`.
Source: https://storage.googleapis.com/openimages/web/factsfigures_v4.html.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.label import Label
from pipeline.datasets.listing import Listing
from pipeline.datasets.official import local_paths, official_file, outside_file
from pipeline.datasets.openimages.csv_stream import first_rows, read_columns
from pipeline.datasets.openimages.fixed_text import image_numbers, md5_digits
from pipeline.datasets.openimages.label_lists import label_space
from pipeline.datasets.openimages.settings import PUBLISHED_IMAGES, OpenImagesDataset
from pipeline.datasets.openimages.verifications import Verifications, read_verifications
from pipeline.net.look import OutsideFile
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.status import LabelRole
from schemas.tables import CREDIT, LOCATION, RECORDS
from schemas.values import OfficialSplit

SETTINGS = OpenImagesDataset

_COLUMNS = {
    "ImageID": pa.string(),
    "Subset": pa.string(),
    "OriginalURL": pa.string(),
    "OriginalSize": pa.int64(),
    "OriginalMD5": pa.string(),
    "Thumbnail300KURL": pa.string(),
    "Rotation": pa.float64(),
}
# Of whom and under which terms an image is, by its name in CREDIT; files that were made by others may lack them.
_CREDITS = {"Author": "author", "License": "licence", "OriginalLandingURL": "landing_page"}
_LISTS = ("class_descriptions", "seen_labels", "unseen_labels", "unseen_chosen")
_BUCKET, _TAR = "bucket", "tar"
# How the files begin; unseen_chosen is numbers alone. Labels are MIDs, /m/ or /g/ and more.
_BEGINS = {
    "images": (b"ImageID,",),
    "boxable_images": (b"ImageID,",),
    "annotations": (b"ImageID,",),
    "class_descriptions": (b"/",),
    "seen_labels": (b"/",),
    "unseen_labels": (b"\x80",),
}


def sources(config: OpenImagesDataset) -> tuple[str, ...]:
    """The official files that lie on this machine; those that are fetched count by their address."""
    return local_paths({f"dataset.{key}": text for key, text in _files(config).items()})


def listing(config: OpenImagesDataset) -> Listing:
    """Nothing beside the files themselves. How many images the published ones list is known, of others it is not."""
    files = [_images_file(config, split)[1] for split in config.splits]
    if not all(file in PUBLISHED_IMAGES for file in files):
        return Listing()
    listed = [PUBLISHED_IMAGES[file] for file in files]
    return Listing("", sum(listed if config.limit is None else (min(config.limit, images) for images in listed)))


def labels(config: OpenImagesDataset) -> list[Label]:
    """The seen labels in the order of `classes-trainable.txt`, then the unseen ones as chosen; keyed by MID."""
    space = label_space(*(_file(config, key, getattr(config, key)) for key in _LISTS))
    return [label for label in space if config.task == "zero-shot" or label.role is LabelRole.SEEN]


def records(config: OpenImagesDataset, left_out: Counter[str]) -> Iterator[pa.Table]:
    """One row an image, split by split in the order of the files.

    Raises:
        PipelineError: a file is malformed, or has no image of its split.
    """
    label_ids = pa.array([label.label_id for label in labels(config)])
    for split in config.splits:
        verified = read_verifications(_file(config, *_annotations(config, split)), label_ids, left_out)
        rows = 0
        for batch in _images(config, split):
            rows += batch.num_rows
            yield _records(config, split, batch, verified, label_ids)
        if not rows:
            raise PipelineError(
                f"{_images_file(config, split)[1]}: no image of the subset {split!r}",
                expected="some",
                hint=f"Check dataset.{_images_file(config, split)[0]}",
            )


@contextmanager
def base_addresses(config: OpenImagesDataset) -> Iterator[Mapping[str, str]]:
    """The bucket's address; its archives lie below it."""
    yield {_BUCKET: config.bucket, _TAR: config.bucket}


def official_files(config: OpenImagesDataset) -> Iterator[OutsideFile]:
    """Every list that these settings read."""
    for key, address in _files(config).items():
        yield _outside(config, key, address)


def first_images(config: OpenImagesDataset, count: int) -> pa.Table:
    """The first rows of each split's list.

    Raises:
        PipelineError: a list cannot be had, or does not begin as it should.
    """
    share = -(-count // len(config.splits))
    tables = []
    for split in config.splits:
        batch = first_rows(_outside(config, *_images_file(config, split)), _COLUMNS, share)
        columns = {"image_id": batch["ImageID"], "locations": _locations(config, split, batch)}
        missing = pa.nulls(len(batch))
        tables.append(pa.table({field.name: columns.get(field.name, missing) for field in RECORDS}).cast(RECORDS))
    return pa.concat_tables(tables)


def _outside(config: OpenImagesDataset, key: str, address: str) -> OutsideFile:
    begins = _BEGINS.get(key.partition(".")[0], ())
    return outside_file(f"dataset.{key}", address, config.sha256.get(key), begins)


def _files(config: OpenImagesDataset) -> dict[str, str]:
    """Path or address of every file that these settings read, by key of its setting."""
    pairs = chain.from_iterable((_images_file(config, split), _annotations(config, split)) for split in config.splits)
    return {key: getattr(config, key) for key in _LISTS} | dict(pairs)


def _images_file(config: OpenImagesDataset, split: OfficialSplit) -> tuple[str, str]:
    if split == "train" and config.boxable_only:
        return "boxable_images", config.boxable_images
    return f"images.{split}", _of_split(config.images, "images", split)


def _annotations(config: OpenImagesDataset, split: OfficialSplit) -> tuple[str, str]:
    return f"annotations.{split}", _of_split(config.annotations, "annotations", split)


def _of_split(files: Mapping[OfficialSplit, str], key: str, split: OfficialSplit) -> str:
    if split not in files:
        raise PipelineError(
            f"dataset.{key} names no file for the split {split!r} (named: {', '.join(files) or 'none'})",
            hint="Leave the split out of dataset.splits, or use:",
            run=Command(sets={f"dataset.{key}.{split}": "PATH"}),
        )
    return files[split]


def _file(config: OpenImagesDataset, key: str, address: str) -> Path:
    return official_file(f"dataset.{key}", address, config.sha256.get(key))


def _images(config: OpenImagesDataset, split: OfficialSplit) -> Iterator[pa.RecordBatch]:
    """The rows of a split, up to the limit."""
    left = config.limit
    for batch in read_columns(
        _file(config, *_images_file(config, split)), _COLUMNS, dict.fromkeys(_CREDITS, pa.string())
    ):
        rows = batch.filter(pc.equal(batch["Subset"], split)).slice(0, left)
        if left is not None:
            left -= rows.num_rows
        if rows.num_rows:
            yield rows
        if left == 0:
            return


def _records(
    config: OpenImagesDataset, split: OfficialSplit, batch: pa.RecordBatch, verified: Verifications, label_ids: pa.Array
) -> pa.Table:
    numbers, good = image_numbers(batch["ImageID"])
    rotation = batch["Rotation"]
    good &= pc.is_in(rotation, pa.array([0.0, 90.0, 180.0, 270.0, None])).to_numpy(zero_copy_only=False)
    if not good.all():
        row = batch.slice(int(np.argmin(good)), 1).select(["ImageID", "Rotation"]).to_pylist()[0]
        raise PipelineError(
            f"{_images_file(config, split)[1]}:",
            found=f"the row {row}",
            expected="an ImageID of 16 hex digits and a Rotation of 0, 90, 180, 270 or none",
            hint="Fetch the file again",
        )
    positive, negative = verified.lists(numbers, label_ids)
    columns = {
        "image_id": batch["ImageID"],
        "locations": _locations(config, split, batch),
        "split": pa.repeat(pa.scalar(split), len(batch)),
        "rotation": rotation.cast(pa.int16()),
        "positive": positive,
        "negative": negative,
        "label_source": pc.if_else(positive.is_valid(), pa.scalar("human"), pa.scalar(None, pa.string())),
        "credit": _credits(batch),
    }
    missing = pa.nulls(len(batch), pa.int64())
    return pa.table([columns.get(field.name, missing) for field in RECORDS], schema=RECORDS)


def _locations(config: OpenImagesDataset, split: OfficialSplit, batch: pa.RecordBatch) -> pa.Array:
    """Where each image can be had, best first; an address that the release leaves empty is no location."""
    rungs = [_rung(source, split, batch) for source in config.sources]
    there = np.stack([pc.greater(pc.binary_length(rung.field("address")), 0).to_numpy(False) for rung in rungs], axis=1)
    by_image = np.arange(len(rungs) * len(batch)).reshape(len(rungs), len(batch)).T
    offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    chosen = pa.concat_arrays(rungs).take(pa.array(by_image[there]))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), chosen)


def _credits(batch: pa.RecordBatch) -> pa.StructArray:
    """What the release says of each image's author, licence and page; what it leaves empty is null."""
    there = {name: batch[column] for column, name in _CREDITS.items() if column in batch.schema.names}
    told = {name: pc.if_else(pc.equal(texts, ""), None, texts) for name, texts in there.items()}
    columns = [told.get(part.name, pa.nulls(len(batch), part.type)) for part in CREDIT]
    return pa.StructArray.from_arrays(columns, fields=list(CREDIT))


def _rung(source: str, split: str, batch: pa.RecordBatch) -> pa.StructArray:
    rows = len(batch)
    size_bytes, md5 = pa.nulls(rows, pa.int64()), pa.nulls(rows, pa.string())
    if source == _BUCKET:
        address = pc.binary_join_element_wise(f"{split}/", batch["ImageID"], ".jpg", "")
    elif source == _TAR:
        part = pc.utf8_slice_codeunits(batch["ImageID"], 0, 1 if split == "train" else 0)  # train lies in 16 archives
        archive = f"tar/{split}_" if split == "train" else f"tar/{split}"
        address = pc.binary_join_element_wise(archive, part, ".tar.gz#", batch["ImageID"], ".jpg", "")
    elif source == "flickr":
        address, size_bytes, md5 = batch["OriginalURL"], batch["OriginalSize"], md5_digits(batch["OriginalMD5"])
    else:
        address = batch["Thumbnail300KURL"]
    columns = [pa.repeat(pa.scalar(source), rows), address, size_bytes, md5]
    return pa.StructArray.from_arrays(columns, fields=list(LOCATION))
