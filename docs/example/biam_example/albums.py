"""Data set `albums`: a folder of albums, each a folder of pictures named after what they show."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from pipeline.datasets.label import Label
from pipeline.datasets.listing import Listing
from schemas.datasets import DatasetSection
from schemas.errors import UsageError
from schemas.section import Content, Recipe
from schemas.status import LabelRole
from schemas.tables import LOCAL_SOURCE, RECORDS
from schemas.values import Texts


class AlbumsDataset(DatasetSection):
    """Folders of pictures, each named after what its pictures show."""

    split_by_content: ClassVar[bool] = True  # a picture may lie in two albums

    name: Recipe[str] = "albums"
    root: Content[str] = "albums"
    """Folder of the albums."""
    unseen: Content[Texts] = ()
    """Albums whose label training does not see."""


SETTINGS = AlbumsDataset


def sources(config: AlbumsDataset) -> tuple[str, ...]:
    """No file beside the pictures."""
    if not Path(config.root).is_dir():
        raise UsageError("dataset.root:", got=f"no folder {config.root!r}", expected="the folder of the albums")
    return ()


def listing(config: AlbumsDataset) -> Listing:
    """Changes when a picture comes, goes or is written anew."""
    rows = [_row(config, path) for path in _pictures(config)]
    return Listing(hashlib.sha256(json.dumps(rows).encode()).hexdigest(), len(rows), {"fetched": 0})


def labels(config: AlbumsDataset) -> list[Label]:
    """One label an album, in the order of their names."""
    held_out = set(config.unseen) if config.task == "zero-shot" else set()
    names = sorted(path.name for path in Path(config.root).iterdir() if path.is_dir())
    return [Label(name, name, LabelRole.UNSEEN if name in held_out else LabelRole.SEEN) for name in names]


def records(config: AlbumsDataset, left_out: Counter[str]) -> Iterator[pa.Table]:
    """One row a picture."""
    left_out["files that lie in no album"] += sum(path.is_file() for path in Path(config.root).iterdir())
    yield pa.Table.from_pylist([_row(config, path) for path in _pictures(config)], schema=RECORDS)


@contextmanager
def base_addresses(config: AlbumsDataset) -> Iterator[Mapping[str, str]]:
    """None are needed: every location is a path."""
    yield {}


def _pictures(config: AlbumsDataset) -> list[Path]:
    return sorted(path for path in Path(config.root).resolve().glob("*/*") if path.is_file())


def _row(config: AlbumsDataset, path: Path) -> dict[str, object]:
    stat = path.stat()
    return {
        "image_id": f"{path.parent.name}/{path.name}",
        "locations": [{"source": LOCAL_SOURCE, "address": str(path)}],
        "size_bytes": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "positive": [path.parent.name],
        "label_source": "human",
    }
