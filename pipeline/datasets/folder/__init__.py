"""Data set `folder`: a user's own images, in folders or at addresses, with a CSV of labels and a list of unseen ones.

Images are all files of the folders, folder by folder, then those that only the CSV names: addresses, or paths, which
are sought below the first folder (or the one whose prefix they bear), or below the CSV's own folder where no folder is
configured. A file that is not there is a row like any other: the download stage says so. `label_file` has the formats.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from pipeline.datasets.folder.label_file import read_labels, read_unseen
from pipeline.datasets.folder.scan import Folder, LocalFile, key_of, local_file, require_distinct
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.datasets.label import Label
from schemas.command import Command
from schemas.errors import PipelineError, UsageError
from schemas.status import LabelRole
from schemas.tables import LOCAL_SOURCE, RECORDS

SETTINGS = FolderDataset

_BATCH_ROWS = 8192
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class _Image:
    """Where an image is to be had; size and time stamp of local files only."""

    image_id: str
    source: str
    address: str
    size_bytes: int | None = None
    modified_ns: int | None = None


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


def listing(config: FolderDataset) -> str:
    """Hash of ids, places, sizes and time stamps of all images: equal while the folders stay as they are."""
    digest = hashlib.sha256()
    for image in _images(config):
        digest.update(json.dumps(astuple(image)).encode() + b"\n")
    return digest.hexdigest()


def labels(config: FolderDataset) -> list[Label]:
    """Labels sorted by name, then those of the file of unseen ones in its order, whether an image has them or not."""
    held_out = LabelRole.UNSEEN if config.task == "zero-shot" else LabelRole.SEEN
    unseen = () if config.unseen is None else read_unseen(_file("unseen", config.unseen))
    seen = {name for names in _annotations(config).values() for name in names} - set(unseen)
    roles = [(name, LabelRole.SEEN) for name in sorted(seen)] + [(name, held_out) for name in unseen]
    return [Label(name, name, role) for name, role in roles]


def records(config: FolderDataset, left_out: Counter[str]) -> Iterator[pa.Table]:
    """One row an image; an image that the CSV does not name is unlabelled.

    Raises:
        PipelineError: there is no image, or two have the same id.
    """
    annotations = _annotations(config)
    rows = (_row(image, annotations.get(image.image_id)) for image in _images(config))
    while batch := list(islice(rows, _BATCH_ROWS)):
        yield pa.Table.from_pylist(batch, schema=RECORDS)


@contextmanager
def base_addresses(config: FolderDataset) -> Iterator[Mapping[str, str]]:
    """None are needed: every location is a full address."""
    yield {}


def _row(image: _Image, names: tuple[str, ...] | None) -> dict[str, object]:
    return {
        "image_id": image.image_id,
        "locations": [{"source": image.source, "address": image.address}],
        "size_bytes": image.size_bytes,
        "modified_ns": image.modified_ns,
        "positive": names,
        "label_source": None if names is None else "human",
    }


def _images(config: FolderDataset) -> list[_Image]:
    """All images in their order, up to the configured limit."""
    left_out = {key_of(Path(text)) for text in sources(config)}
    folders = [Folder.parse(text) for text in config.folders]
    files = [file for folder in folders for file in folder.files(left_out)]
    require_distinct(files)
    images = [_local(file) for file in files]
    there = {image.image_id for image in images}
    images += [_named(config, folders, image_id) for image_id in _annotations(config) if image_id not in there]
    if not images:
        raise PipelineError(
            f"data set 'folder': no image in folders {list(config.folders)} and labels {config.labels};",
            found=0,
            expected="at least 1",
            hint="Check dataset.folders and dataset.labels",
        )
    return images[: config.limit]


def _named(config: FolderDataset, folders: list[Folder], image_id: str) -> _Image:
    """An image that the CSV names and no folder holds."""
    if _ADDRESS.match(image_id):
        return _Image(image_id, "http", image_id)
    if not folders:
        assert config.labels is not None
        return _local(local_file(image_id, _file("labels", config.labels).parent / image_id))
    bearer = next((folder for folder in folders if folder.prefix and image_id.startswith(folder.prefix)), folders[0])
    return _local(local_file(image_id, bearer.path / image_id.removeprefix(bearer.prefix)))


def _local(file: LocalFile) -> _Image:
    return _Image(file.image_id, LOCAL_SOURCE, file.path, file.size_bytes, file.modified_ns)


def _annotations(config: FolderDataset) -> dict[str, tuple[str, ...]]:
    return {} if config.labels is None else read_labels(_file("labels", config.labels))


def _file(key: str, text: str) -> Path:
    path = Path(text).expanduser()
    if local_file(text, path).size_bytes is None or path.is_dir():
        raise UsageError(
            f"dataset.{key}: no file {text!r} (seen from {Path.cwd()});",
            expected="a text file",
            hint="Check the setting",
        )
    return path.resolve()
