"""Chunks made outside of HDF5 are those of HDF5's own filters."""

from pathlib import Path
from typing import Any

import feature_rows
import h5py
import hdf5plugin
import numpy as np
import pytest

from pipeline.stores import hdf5
from pipeline.stores.chunks import fletcher32
from schemas.config import StoreConfig
from schemas.errors import IntegrityError

SPEC = feature_rows.spec()
RNG = np.random.default_rng(0)
VALUES = {
    "sparse": np.maximum(RNG.normal(-1, 1, (9, 14, 14, 512)), 0).astype("<f2"),
    "zeros": np.zeros((2, 300), "<f2"),
    "noise": RNG.integers(0, 256, (40, 37), dtype="u1"),  # not to be compressed, of odd length
}


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_plain_h5py_reads_what_is_written(tmp_path: Path, compression: str) -> None:
    batch = feature_rows.rows(40, failed=(0, 7))
    hdf5.write(tmp_path / "shard.h5", SPEC, StoreConfig(compression=compression), [batch])

    with h5py.File(tmp_path / "shard.h5") as file:
        for column, values in batch.maps.items():
            values[[0, 7]] = 0
            assert file[column][:].tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "filters",
    [{}, hdf5plugin.Zstd(clevel=9), hdf5plugin.LZ4(), hdf5plugin.LZ4(nbytes=16)],
    ids=["none", "zstd", "lz4", "lz4 of several blocks"],
)
def test_chunks_that_the_filters_of_hdf5_made_are_read(tmp_path: Path, filters: Any) -> None:
    batch = feature_rows.rows(40, failed=(0, 7))
    rewritten(tmp_path, {"fletcher32": True, **filters}, batch.maps)

    with hdf5.open_shard(tmp_path / "shard.h5") as reader:
        for column, values in batch.maps.items():
            assert reader.read(range(40), column).tobytes() == values.tobytes()
            assert next(reader.each([5], column)).tobytes() == values[5].tobytes()


def rewritten(folder: Path, filters: dict[str, Any], maps: dict[str, np.ndarray]) -> None:
    """A shard whose maps are written anew by h5py."""
    hdf5.write(folder / "shard.h5", SPEC, StoreConfig(), [feature_rows.rows(40)])
    with h5py.File(folder / "shard.h5", "r+") as file:
        for column, values in maps.items():
            del file[column]
            file.create_dataset(column, data=values, chunks=(1, *values.shape[1:]), **filters)


@pytest.mark.parametrize("filters", [{"compression": "gzip", "fletcher32": True}, hdf5plugin.Zstd()])
def test_other_filters_are_refused_by_number(tmp_path: Path, filters: Any) -> None:
    rewritten(tmp_path, dict(filters), feature_rows.rows(40).maps)

    with (
        pytest.raises(IntegrityError, match=r"/grid has the filters \[.*\], expected a codec or none, then a checksum"),
        hdf5.open_shard(tmp_path / "shard.h5"),
    ):
        pass


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("filters", [{}, hdf5plugin.Zstd()], ids=["none", "zstd"])
def test_the_checksum_is_that_of_hdf5(tmp_path: Path, values: np.ndarray, filters: Any) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        stored = file.create_dataset("a", data=values, chunks=(1, *values.shape[1:]), fletcher32=True, **filters)
        for row in range(len(values)):
            _, chunk = stored.id.read_direct_chunk((row, *[0] * (values.ndim - 1)))
            assert fletcher32(chunk[:-4]) == int.from_bytes(chunk[-4:], "little")


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"a", b"abcde", b"abcdef", b"\xff" * 8, b"\xff\xff\xff"])
def test_the_checksum_is_that_of_a_loop_over_words(data: bytes) -> None:
    words = [int.from_bytes(data[at : at + 2].ljust(2, b"\0")) for at in range(0, len(data), 2)]
    first = second = 0
    for word in words:
        first += word
        second += first
    assert fletcher32(data) == folded(second) << 16 | folded(first)


def folded(number: int) -> int:
    while number > 0xFFFF:
        number = (number & 0xFFFF) + (number >> 16)
    return number
