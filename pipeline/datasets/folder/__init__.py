"""Data set `folder`: a user's own images, in folders or at addresses, with a CSV of labels and a list of unseen ones.

Images are the files of the folders that are called as images are or that the CSV names, folder by folder, then those
that only the CSV names: addresses, or paths, which are sought below the first folder (or the one whose prefix they
bear), or below the CSV's own folder where no folder is configured. A file that is not there is a row like any other:
the download stage says so. `label_file` has the formats, `spelling` tells which file a path means, and `remarks` has
what a user is told before anything runs.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.datasets.census import census
from pipeline.datasets.folder import remarks
from pipeline.datasets.folder.annotations import Annotation, Annotations, annotations
from pipeline.datasets.folder.label_file import LabelFile, read_labels, read_unseen
from pipeline.datasets.folder.scan import (
    Folder,
    LocalFile,
    is_image_name,
    key_of,
    regular_file,
    require_apart,
    require_distinct,
)
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.datasets.folder.spelling import Paths
from pipeline.datasets.label import Label
from pipeline.datasets.listing import Listing
from pipeline.net.look import OutsideFile
from schemas.command import Command
from schemas.errors import PipelineError, UsageError
from schemas.status import LabelRole
from schemas.tables import LOCAL_SOURCE, RECORDS

SETTINGS = FolderDataset

_BATCH_ROWS = 8192
_log = logging.getLogger("biam_pipe.index")


@dataclass(frozen=True)
class _Image:
    """An image and what the CSV says of it.

    Attributes:
        place: as `schemas.tables.RECORDS` has it.
        file: None for an address.
        said: None where the CSV does not name it.
    """

    image_id: str
    file: LocalFile | None
    said: Annotation | None

    @property
    def place(self) -> tuple[str, str]:
        """Source and address."""
        return ("http", self.image_id) if self.file is None else (LOCAL_SOURCE, self.file.path)

    @property
    def stamp(self) -> tuple[int | None, int | None]:
        """Size in bytes and time stamp in ns of a local file."""
        return (None, None) if self.file is None else (self.file.size_bytes, self.file.modified_ns)

    @property
    def split(self) -> str | None:
        """The split that the CSV says."""
        return None if self.said is None else self.said.split


@dataclass(frozen=True)
class _Collection:
    """All that the folders and the CSV hold.

    Attributes:
        images: in their order, up to the configured limit.
        other: paths of files that are left out because of their names.
    """

    images: list[_Image]
    other: list[str]
    csv: LabelFile | None
    annotations: Annotations


def sources(config: FolderDataset) -> tuple[str, ...]:
    """The CSV of labels and the list of unseen labels, as far as configured.

    Raises:
        UsageError: neither folders nor labels are configured, or a file is not there.
    """
    if not config.folders and config.labels is None:
        raise UsageError(
            "data set 'folder': neither folders nor labels are configured;",
            expected="one of them",
            hint='Set dataset.folders = ["PATH"] in biam-pipe.toml, or use:',
            run=Command(sets={"dataset.folders": ["PATH"]}),
        )
    named = {"labels": config.labels, "unseen": config.unseen}
    return tuple(str(_file(key, text)) for key, text in named.items() if text is not None)


def listing(config: FolderDataset) -> Listing:
    """Hash of ids, places, sizes and time stamps of all images: equal while the folders stay as they are.

    Logs what is probably meant otherwise. Splits count, too, so that an index from before they were read is none.

    Raises:
        PipelineError: as `records` and `labels`.
    """
    left_out: Counter[str] = Counter()
    found = _collect(config, left_out)
    facts = _facts(config, found) | {"left_out": {kind: count for kind, count in left_out.items() if count}}
    for text in facts["remarks"]:
        _warn(text)
    digest = hashlib.sha256()
    for image in found.images:
        row = [image.image_id, *image.place, *image.stamp, *([] if image.split is None else [image.split])]
        digest.update(json.dumps(row).encode() + b"\n")
    return Listing(digest.hexdigest(), len(found.images), facts)


def labels(config: FolderDataset) -> list[Label]:
    """Labels sorted by name, then those of the file of unseen ones in its order, whether an image has them or not.

    Raises:
        PipelineError: a seen label and an unseen one differ in case or blanks alone.
    """
    csv = _csv(config)
    return _label_space(config, csv, _unseen(config, csv))


def records(config: FolderDataset, left_out: Counter[str]) -> Iterator[pa.Table]:
    """One row an image; an image that the CSV does not name is unlabelled.

    Raises:
        PipelineError: there is no image, two have the same id, or the CSV is none.
    """
    rows = map(_row, _collect(config, left_out).images)
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield pa.Table.from_pylist(batch, schema=RECORDS)


@contextmanager
def base_addresses(config: FolderDataset) -> Iterator[Mapping[str, str]]:
    """None are needed: every location is a full address."""
    yield {}


def official_files(config: FolderDataset) -> Iterator[OutsideFile]:
    """The CSV of labels and the list of unseen labels, as far as configured."""
    for key in ("labels", "unseen"):
        if (path := getattr(config, key)) is not None:
            yield OutsideFile(f"dataset.{key}", path)


def first_images(config: FolderDataset, count: int) -> pa.Table:
    """The first images; it takes a look at all names to tell which those are."""
    return next(records(config, Counter())).slice(0, count)


def _label_space(config: FolderDataset, csv: LabelFile | None, unseen: Mapping[str, int]) -> list[Label]:
    lines: dict[str, int] = {}
    for row in () if csv is None else csv.rows:
        lines |= {name: row.line for name in row.labels if name not in lines and name not in unseen}
    held_out = LabelRole.UNSEEN if config.task == "zero-shot" else LabelRole.SEEN
    if held_out is LabelRole.UNSEEN and csv is not None and config.unseen is not None:
        remarks.require_apart(lines, unseen, csv.path, _file("unseen", config.unseen))
    roles = [(name, LabelRole.SEEN) for name in sorted(lines)] + [(name, held_out) for name in unseen]
    return [Label(name, name, role) for name, role in roles]


def _row(image: _Image) -> dict[str, object]:
    source, address = image.place
    size_bytes, modified_ns = image.stamp
    return {
        "image_id": image.image_id,
        "locations": [{"source": source, "address": address}],
        "split": image.split,
        "size_bytes": size_bytes,
        "modified_ns": modified_ns,
        "positive": None if image.said is None else sorted(image.said.labels),
        "label_source": None if image.said is None else "human",
    }


def _collect(config: FolderDataset, left_out: Counter[str]) -> _Collection:
    own = {key for text in sources(config) if (key := key_of(Path(text))) is not None}
    folders = [Folder.parse(text) for text in config.folders]
    require_apart(folders)
    files = [file for folder in folders for file in folder.files(own, left_out)]
    require_distinct(files)
    csv = _csv(config)
    said = Annotations({}, [], {})
    if csv is not None:
        said = annotations(csv, Paths(folders or [Folder("", csv.path.parent)], files))
    used = [file for file in files if is_image_name(file.image_id) or file.image_id in said.by_image]
    there = {file.image_id for file in used}
    images = [_Image(file.image_id, file, said.by_image.get(file.image_id)) for file in used]
    images += [_Image(name, row.file, row) for name, row in said.by_image.items() if name not in there]
    other = [file.path for file in files if file.image_id not in there]
    left_out["files that are not called as images are"] += len(other)
    if not images:
        raise PipelineError(
            f"data set 'folder': no image in folders {list(config.folders)} and labels {config.labels};",
            found=0,
            expected="at least 1",
            hint="Check dataset.folders and dataset.labels",
        )
    return _Collection(images[: config.limit], other, csv, said)


def _facts(config: FolderDataset, found: _Collection) -> dict[str, Any]:
    """What a user should know of the lists before anything runs, as `Listing` has it.

    Raises:
        PipelineError: as `labels`.
    """
    unseen = _unseen(config, found.csv)
    space = _label_space(config, found.csv, unseen)
    borne = Counter(name for image in found.images if image.said is not None for name in image.said.labels)
    return {
        "fetched": sum(image.file is None for image in found.images),
        "size_bytes": sum(image.stamp[0] or 0 for image in found.images),
        "labelled": sum(image.said is not None for image in found.images),
        "without_file": len(found.annotations.stray),
        "images_a_label": census(space, borne),
        "remarks": _remarks(config, found, [label.name for label in space], unseen, borne),
    }


def _remarks(
    config: FolderDataset, found: _Collection, names: Sequence[str], unseen: Mapping[str, int], borne: Collection[str]
) -> list[str]:
    """What is probably meant otherwise."""
    texts = list(remarks.of_files(config.folders, found.other))
    if found.csv is not None:
        texts += remarks.of_labels(found.csv, found.annotations)
        said = [image.said for image in found.images if image.said is not None]
        texts += remarks.of_use(found.csv.path, said, unseen if config.task == "zero-shot" else ())
        texts += remarks.of_names(found.csv.path, [name for name in names if name not in unseen])
    if config.unseen is not None:
        path = _file("unseen", config.unseen)
        texts += [*remarks.of_names(path, unseen), *remarks.of_unseen(path, unseen, borne)]
    return texts


@cache
def _warn(text: str) -> None:
    """Once in a process: a run looks at the lists twice, before it takes the lock and after."""
    _log.warning(text)


def _csv(config: FolderDataset) -> LabelFile | None:
    if config.labels is None:
        return None
    return read_labels(_file("labels", config.labels), config.image_column, config.labels_column)


def _unseen(config: FolderDataset, csv: LabelFile | None) -> dict[str, int]:
    if config.unseen is None:
        return {}
    hashtags = {name for row in csv.rows for name in row.labels if name.startswith("#")} if csv else ()
    return read_unseen(_file("unseen", config.unseen), hashtags)


def _file(key: str, text: str) -> Path:
    path = Path(text).expanduser()
    if regular_file(text, path) is None:
        raise UsageError(
            f"dataset.{key}: no file {text!r} (seen from {Path.cwd()});",
            expected="a text file",
            hint="Check the setting",
        )
    return path.resolve()
