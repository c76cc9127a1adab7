"""Images, labels and vectors as FiftyOne imports them (FiftyOneImageClassificationDataset): a folder for each split.

Images that lie in files of this machine are referenced where they lie; those that were fetched are written into
`images/`. `embeddings.npy` has the first global map, a row an image, in the order in which FiftyOne imports them.
Images that failed are left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.conversion.form import UNSPLIT, Handover, Write
from pipeline.images.header import inspect
from pipeline.images.problem import ImageProblem
from pipeline.images.ready import ImageRow
from pipeline.images.rows import address, image_rows
from pipeline.images.source import ImageSource
from pipeline.stores.batch import dtype_of
from schemas.errors import PipelineError
from schemas.features import MapSpec
from schemas.status import ImageStatus
from schemas.tables import FEATURES_SOURCE, LOCAL_SOURCE

VERSION = 1
READS = ("index", "download", "extract", "split", "unseen")

_SUFFIX_OF = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}  # of others the format in small letters


def jobs(handover: Handover) -> dict[str, Write]:
    """The fetched images of each shard, then of each split labels, places of images and vectors.

    Raises:
        PipelineError: the images are not there.
    """
    _require_images(handover)
    made: dict[str, Write] = {
        f"images/{number:05d}/": partial(_write_images, handover, number)
        for number in handover.features.numbers
        if _fetched(handover, number)
    }
    first = next((one for one in handover.features.spec.maps if one.role == "global"), None)
    for split, shards in handover.rows.items():
        made[f"{split}/labels.json"] = partial(_write_labels, handover, split, shards)
        made[f"{split}/data.json"] = partial(_write_places, handover, shards)
        if first is not None:
            made[f"{split}/embeddings.npy"] = partial(_write_vectors, handover, shards, first)
    return made


def opened(out: str) -> str:
    """As one line of Python."""
    kind = "fiftyone.types.FiftyOneImageClassificationDataset"
    return f'fiftyone.Dataset.from_dir("{out}/train", dataset_type={kind}, data_path="data.json")'


def _require_images(handover: Handover) -> None:
    number = handover.features.numbers[0]
    places = handover.inputs.table("index", "index", number, ["locations"])["locations"].to_pylist()
    if any(address(locations, FEATURES_SOURCE) is not None for locations in places):
        raise PipelineError("convert: fiftyone shows images, and this data set came as features, without images")
    pruned = [number for number in handover.features.numbers if handover.inputs.pruned("download", "images", number)]
    if pruned:
        raise PipelineError(
            "convert: fiftyone shows images, which were dropped once their features were there (images.keep = false)",
            found=f"{len(pruned)} shards without images",
            expected=0,
            hint="Fetch them into another work folder, with images.keep = true",
        )


def _key(number: int, row: int) -> str:
    """Name of an image in FiftyOne's files, which sorts as the index does."""
    return f"{number:05d}-{row:05d}"


def _fetched(handover: Handover, number: int) -> bool:
    """Whether images of a shard were fetched, and lie in the work folder."""
    table = handover.inputs.table("download", "downloads", number, ["status", "source"])
    return any(row["status"] == ImageStatus.OK and row["source"] != LOCAL_SOURCE for row in table.to_pylist())


def _images(handover: Handover, number: int) -> Iterator[tuple[int, ImageRow, ImageSource]]:
    for row, image in enumerate(image_rows(handover.inputs, number)):
        if image.status == ImageStatus.OK:
            assert isinstance(image.source, ImageSource), "that of a work folder"
            yield row, image, image.source


def _write_images(handover: Handover, number: int, folder: Path) -> int:
    """Write the fetched images of a shard, as they were fetched; they count where they have labels and vectors."""
    for row, image, source in _images(handover, number):
        if source.data is not None:
            data = source.read()
            try:
                form = inspect(data, handover.max_pixels).format
            except ImageProblem as problem:
                raise PipelineError(f"convert: image {image.image_id!r} is {problem.status}: {problem}") from problem
            (folder / f"{_key(number, row)}.{_SUFFIX_OF.get(form, form.lower())}").write_bytes(data)
    return 0


def _write_places(handover: Handover, shards: Mapping[int, Sequence[int]], path: Path) -> int:
    """Write where each image lies: as an absolute path, or from the folder of the split."""
    places: dict[str, str] = {}
    for position, rows in shards.items():
        number = handover.features.numbers[position]
        written = {file.stem: file.name for file in (handover.out / f"images/{number:05d}").glob("*")}
        listed = handover.inputs.table("index", "index", number, ["locations"])["locations"].to_pylist()
        for row in rows:
            key = _key(number, row)
            if key in written:
                places[f"{key}.x"] = f"../images/{number:05d}/{written[key]}"  # FiftyOne takes an ending off
            else:
                places[f"{key}.x"] = str(Path(str(address(listed[row], LOCAL_SOURCE))).absolute())
    path.write_text(json.dumps(places, indent=0), encoding="utf-8")
    return 0


def _write_labels(handover: Handover, split: str, shards: Mapping[int, Sequence[int]], path: Path) -> int:
    labels: dict[str, Any] = {}
    image_ids: dict[str, str] = {}
    for position, rows in shards.items():
        number = handover.features.numbers[position]
        known = handover.known(number)
        for row in rows:
            image_ids[_key(number, row)] = known[row]["image_id"]
            if split != UNSPLIT:
                labels[_key(number, row)] = known[row]["positive"]
    document = {"classes": list(handover.labels.names), "labels": labels, "image_ids": image_ids}
    path.write_text(json.dumps(document, indent=0, ensure_ascii=False), encoding="utf-8")
    return len(image_ids)


def _write_vectors(handover: Handover, shards: Mapping[int, Sequence[int]], one: MapSpec, path: Path) -> int:
    total = sum(map(len, shards.values()))
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=dtype_of(one), shape=(total, *one.shape))
    start = 0
    for position, rows in shards.items():
        shard = np.full(len(rows), position, np.int32)
        found = handover.features.read(shard, np.array(rows, np.int32), [one])
        stored[start : start + len(rows)] = found[one.column]
        start += len(rows)
    stored.flush()
    return 0
