"""Features as HDF5: one chunk a row, a checksum on every chunk, so that any row is one small read.

Threads compress and decompress (`chunks`): 1.2 GB/s read with zstd on two cores, much as from Parquet; a row alone
comes in half a millisecond, where Parquet decompresses its row group up to there. For programs that want HDF5.
"""

import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.machine.ahead import ahead
from pipeline.machine.device import cores
from pipeline.stores.batch import FeatureBatch, checked, dtype_of
from pipeline.stores.chunks import DAMAGE, Filters
from pipeline.stores.reader import damage_named
from schemas.config import StoreConfig
from schemas.features import METADATA_KEY, FeatureSpec, MapSpec
from schemas.status import ImageStatus

SUFFIX = ".h5"

# The first format whose own structures carry checksums. Without them, and with strings of varying length (whose heap
# has none in any format), a changed byte made the library crash or loop for ever.
_FORMAT = ("v110", "v110")

_GROUP_KEY = "biam_pipe.row_group_rows"  # rows best read at a time; the file itself has no groups

_PIECE_ROWS = 8  # that a thread compresses at a time; row by row, handing them over takes a tenth of the time
_AHEAD = 2  # such pieces compressed or waiting to be written, for each core

_MANY_ROWS = 32  # from that many on it pays to look up the places of all chunks of a shard


def write(path: Path, spec: FeatureSpec, options: StoreConfig, batches: Iterable[FeatureBatch]) -> None:
    """Write a shard; a few rows are in memory at a time. Equal rows give equal bytes."""
    filters, threads = Filters.chosen(options), cores()
    texts: dict[str, list[str]] = {"image_id": [], "status": [], "error": []}
    with (
        sink(path) as target,
        h5py.File(target, "w", libver=_FORMAT) as file,
        ahead(partial(_packed, filters), _pieces(batches, spec), threads, _AHEAD * threads, name="pack") as pieces,
    ):
        text = spec.model_dump_json().encode()
        file.attrs.create(METADATA_KEY, text, dtype=h5py.string_dtype("utf-8", len(text)))
        file.attrs[_GROUP_KEY] = options.row_group_rows
        stored = {one.column: _create(file, one, filters) for one in spec.maps}
        for piece in pieces:
            if target.error is not None:
                break  # what the library would write from here on goes nowhere
            for row, chunks in enumerate(piece.chunks, start=len(texts["image_id"])):
                for column, chunk in chunks.items():
                    _append(stored[column], row, chunk, options.row_group_rows)
            texts["image_id"] += piece.rows.image_ids
            texts["status"] += piece.rows.statuses
            texts["error"] += [error or "" for error in piece.rows.errors]
        for dataset in stored.values():
            dataset.resize(len(texts["image_id"]), axis=0)
        for column, values in texts.items():
            _write_texts(file, column, values)


@dataclass(frozen=True)
class _Piece:
    """Some consecutive rows, and the chunks of each by column: none where the image failed."""

    rows: FeatureBatch
    chunks: list[dict[str, bytes]]


def _pieces(batches: Iterable[FeatureBatch], spec: FeatureSpec) -> Iterator[FeatureBatch]:
    for batch in checked(batches, spec):
        for start in range(0, len(batch), _PIECE_ROWS):
            yield batch.rows(slice(start, start + _PIECE_ROWS))


def _packed(filters: Filters, rows: FeatureBatch) -> _Piece:
    packed = filters.packer()
    chunks = [
        {column: packed(values[row]) for column, values in rows.maps.items()} if good else {}
        for row, good in enumerate(rows.good)
    ]
    return _Piece(rows, chunks)


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
        verified: the caller has compared the file's hash with its receipt: chunks need not be checked once more.

    Raises:
        IntegrityError: it is missing, torn or no feature shard.
    """
    with damage_named(path):
        file = h5py.File(path, "r", locking=False)  # committed shards never change, and NFS may have no locks
    with file:
        yield Hdf5Reader(path, file, verified)


class Hdf5Reader:
    """A feature shard as `stores.reader.Reader` describes it."""

    def __init__(self, path: Path, file: h5py.File, verified: bool) -> None:
        self._path = path
        self._file = file
        self._verified = verified
        with damage_named(path):
            self.spec = FeatureSpec.model_validate_json(file.attrs[METADATA_KEY])
            self.num_rows: int = file["image_id"].shape[0]
            self._group_rows = int(file.attrs[_GROUP_KEY])
            # Chunks are not fetched by the library, which keeps its lock and Python's meanwhile (36 us each).
            whole = memoryview(mmap.mmap(file.id.get_vfd_handle(), 0, access=mmap.ACCESS_READ))
            self._maps = {one.column: _StoredMap(file[one.column], one, self.num_rows, whole) for one in self.spec.maps}

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
        one = self._maps[column].one
        found = np.empty((len(rows), *one.shape), dtype_of(one))
        for place, values in enumerate(self.each(rows, column)):
            found[place] = values
        return found

    def each(self, rows: Sequence[int], column: str) -> Iterator[NDArray[Any]]:
        """The map of each of some rows; reads no others."""
        assert max(rows, default=-1) < self.num_rows, f"{rows} of {self.num_rows}"
        with damage_named(self._path, *DAMAGE):
            yield from self._maps[column].each(rows, verified=self._verified)

    def _texts(self, column: str) -> list[str]:
        with damage_named(self._path):
            return self._file[column].asstr()[:].tolist()


class _StoredMap:
    """A column of maps whose chunks are fetched as they lie on disk."""

    def __init__(self, dataset: h5py.Dataset, one: MapSpec, num_rows: int, whole: memoryview) -> None:
        found = dataset.shape, dataset.chunks, dataset.dtype
        wanted = (num_rows, *one.shape), (1, *one.shape), dtype_of(one)
        if found != wanted:
            raise ValueError(f"{one.column} has shape, chunks and type {found}, expected {wanted}")
        self.one = one
        self._filters = Filters.found(dataset)
        self._dataset = dataset.id
        self._whole = whole

    def each(self, rows: Sequence[int], *, verified: bool) -> Iterator[NDArray[Any]]:
        """The map of each of some rows, zeros where the image failed."""
        dtype, unpacked = dtype_of(self.one), self._filters.unpacker(self.one.size_bytes, verified=verified)
        for info in self._infos(rows):
            if info is None or not info.size:
                yield np.zeros(self.one.shape, dtype)
                continue
            chunk = self._whole[info.byte_offset : info.byte_offset + info.size]
            yield np.frombuffer(unpacked(chunk), dtype).reshape(self.one.shape)

    def _infos(self, rows: Sequence[int]) -> Iterator[Any]:
        """Where the chunk of each row lies: asked for one by one (17 us each), or for all of the shard (0.7 each)."""
        if len(rows) < _MANY_ROWS:
            return (self._dataset.get_chunk_info_by_coord((row, *[0] * len(self.one.shape))) for row in rows)
        return map(self._all_infos.get, rows)

    @cached_property
    def _all_infos(self) -> dict[int, Any]:
        infos: list[Any] = []
        self._dataset.chunk_iter(infos.append)
        return {info.chunk_offset[0]: info for info in infos}


def _create(file: h5py.File, one: MapSpec, filters: Filters) -> h5py.Dataset:
    """A map without rows; the chunk of a failed image is never written and reads as zeros."""
    return file.create_dataset(
        one.column,
        shape=(0, *one.shape),
        maxshape=(None, *one.shape),
        dtype=dtype_of(one),
        chunks=(1, *one.shape),
        **filters.declared,
    )


def _append(dataset: h5py.Dataset, row: int, chunk: bytes, step: int) -> None:
    if row >= dataset.shape[0]:
        dataset.resize((row // step + 1) * step, axis=0)  # 15 us, so not for every row
    dataset.id.write_direct_chunk((row, *[0] * (dataset.ndim - 1)), chunk)


def _write_texts(file: h5py.File, column: str, values: Sequence[str]) -> None:
    """A column of strings, all stored as long as the longest."""
    encoded = [value.encode() for value in values]
    length = max([1, *map(len, encoded)])
    chunk = (len(values),) if values else None
    dtype = h5py.string_dtype("utf-8", length)
    file.create_dataset(column, data=np.array(encoded, dtype=dtype), dtype=dtype, chunks=chunk, fletcher32=bool(values))
