"""Features as HDF5: one chunk a row, a checksum on every chunk, so that any row is one small read.

Slower than Parquet to read in bulk, 0.9 GB/s with zstd; for programs that want HDF5.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from pipeline.stores.batch import FeatureBatch, dtype_of, regrouped
from pipeline.stores.reader import damage_named
from schemas.config import StoreConfig
from schemas.features import METADATA_KEY, FeatureSpec, MapSpec
from schemas.status import ImageStatus

SUFFIX = ".h5"

# The first format whose own structures carry checksums. Without them, and with strings of varying length (whose heap
# has none in any format), a changed byte made the library crash or loop for ever.
_FORMAT = ("v110", "v110")

_SPARE_BYTES = 16 * 2**20  # for what the library holds back until it closes the file, and for other writers

_GROUP_KEY = "biam_pipe.row_group_rows"  # rows best read at a time; the file itself has no groups


def write(path: Path, spec: FeatureSpec, options: StoreConfig, batches: Iterable[FeatureBatch]) -> None:
    """Write a shard; a few rows are in memory at a time. Equal rows give equal bytes."""
    texts: dict[str, list[str]] = {"image_id": [], "status": [], "error": []}
    with sink(path) as target, h5py.File(target, "w", libver=_FORMAT) as file:
        text = spec.model_dump_json().encode()
        file.attrs.create(METADATA_KEY, text, dtype=h5py.string_dtype("utf-8", len(text)))
        file.attrs[_GROUP_KEY] = options.row_group_rows
        for one in spec.maps:
            file.create_dataset(
                one.column,
                shape=(0, *one.shape),
                maxshape=(None, *one.shape),
                dtype=dtype_of(one),
                chunks=(1, *one.shape),
                fletcher32=True,
                **_compression(options),
            )
        for group in regrouped(batches, spec, options.row_group_rows):
            _require_space(path, sum(values.nbytes for values in group.maps.values()))
            _append(file, group)
            texts["image_id"] += group.image_ids
            texts["status"] += group.statuses
            texts["error"] += [error or "" for error in group.errors]
        for column, values in texts.items():
            _write_texts(file, column, values)


class _Sink(FileIO):
    """A file that remembers its first error and from then on takes what it gets for written.

    Of a disk that is full HDF5 tells nothing to whoever closes the file (a shard of 12 MB on a disk of 2 MB came back
    as written), and the process crashed at its end.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or remember why not."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while self.error is None and len(left):
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Make room, or remember why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


@contextmanager
def sink(path: Path) -> Iterator[_Sink]:
    """The file to write to; what went wrong with it comes out at the end.

    Raises:
        OSError: the disk is full, for example.
    """
    with _Sink(path, "w+") as opened:
        try:
            yield opened
        finally:
            if opened.error is not None:
                raise opened.error


def example(one: MapSpec) -> str:
    """Three lines of Python with which another program reads a map."""
    return (
        "import h5py, hdf5plugin\n"
        f'with h5py.File("shard-00000{SUFFIX}") as file:\n'
        f'    {one.column} = file["{one.column}"][file["status"].asstr()[:] == "{ImageStatus.OK}"]\n'
    )


@contextmanager
def open_shard(path: Path, *, verified: bool = False) -> Iterator["Hdf5Reader"]:
    """The shard, open for reading.

    Args:
        verified: the caller has compared the file's hash with its receipt; the library checks its chunks all the same.

    Raises:
        IntegrityError: it is missing, torn or no feature shard.
    """
    del verified
    with damage_named(path):
        file = h5py.File(path, "r", locking=False)  # committed shards never change, and NFS may have no locks
    with file:
        yield Hdf5Reader(path, file)


class Hdf5Reader:
    """A feature shard as `stores.reader.Reader` describes it."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path = path
        self._file = file
        with damage_named(path):
            self.spec = FeatureSpec.model_validate_json(file.attrs[METADATA_KEY])
            self.num_rows: int = file["image_id"].shape[0]
            self._group_rows = int(file.attrs[_GROUP_KEY])

    @cached_property
    def row_groups(self) -> list[range]:
        """As many rows each as the settings of the writer said: every row can be read alone."""
        starts = range(0, self.num_rows, self._group_rows)
        return [range(start, min(start + self._group_rows, self.num_rows)) for start in starts]

    def image_ids(self) -> list[str]:
        """One a row."""
        return self._texts("image_id")

    def statuses(self) -> list[str]:
        """One a row."""
        return self._texts("status")

    def errors(self) -> list[str | None]:
        """What was wrong, one a row, None where nothing was."""
        return [error or None for error in self._texts("error")]

    def read(self, rows: range, column: str) -> NDArray[Any]:
        """Maps of consecutive rows; reads no others."""
        assert rows.stop <= self.num_rows, f"{rows} of {self.num_rows}"
        with damage_named(self._path):
            return self._file[column][rows.start : rows.stop]

    def _texts(self, column: str) -> list[str]:
        with damage_named(self._path):
            return self._file[column].asstr()[:].tolist()


def _compression(options: StoreConfig) -> dict[str, Any]:
    if options.compression == "zstd":
        return dict(hdf5plugin.Zstd(clevel=options.compression_level))
    return dict(hdf5plugin.LZ4()) if options.compression == "lz4" else {}


def _require_space(path: Path, size_bytes: int) -> None:
    """Raise before the disk is full: the library crashes where it cannot even close its file."""
    if shutil.disk_usage(path.parent).free < size_bytes + _SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _append(file: h5py.File, group: FeatureBatch) -> None:
    """Add rows to each map; the chunk of a failed image is never written and reads as zeros."""
    good = group.good
    for column, values in group.maps.items():
        stored = file[column]
        start = stored.shape[0]
        stored.resize(start + len(group), axis=0)
        if good.all():
            stored[start:] = values
            continue
        for row in np.flatnonzero(good):
            stored[start + row] = values[row]


def _write_texts(file: h5py.File, column: str, values: Sequence[str]) -> None:
    """A column of strings, all stored as long as the longest."""
    encoded = [value.encode() for value in values]
    length = max([1, *map(len, encoded)])
    chunk = (len(values),) if values else None
    dtype = h5py.string_dtype("utf-8", length)
    file.create_dataset(column, data=np.array(encoded, dtype=dtype), dtype=dtype, chunks=chunk, fletcher32=bool(values))
