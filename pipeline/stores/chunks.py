"""One row of a map as HDF5's own filters leave it on disk, made and undone outside of HDF5.

HDF5's library has one lock for all threads and holds it while its filters work. A chunk that is handed over, or
fetched, as it lies on disk leaves codec and checksum to threads; any program with the filters of hdf5plugin reads it.

Source: the filters' own formats (zstd: one frame; LZ4: big-endian sizes before each raw block; Fletcher-32: HDF5's
library reference, over big-endian 16-bit words, stored little-endian behind the compressed bytes).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pyarrow as pa
import zstandard
from numpy.typing import NDArray

from schemas.config import StoreConfig

_ZSTD, _LZ4 = hdf5plugin.Zstd.filter_id, hdf5plugin.LZ4.filter_id
_CHECKSUM = struct.Struct("<I")
_LZ4_SIZES = struct.Struct(">QI")  # of all blocks, of one block
_LZ4_LENGTH = struct.Struct(">I")  # of the block that follows, compressed
_FLETCHER = 0xFFFF  # both sums count modulo that

DAMAGE = (pa.ArrowException, zstandard.ZstdError)
"""What the codecs may raise on broken bytes, beside Python's own exceptions."""


@dataclass(frozen=True)
class Filters:
    """What stands between a row's values and its chunk; a checksum always does.

    Attributes:
        codec: HDF5's number of the filter that compresses; None for none.
        level: of zstd; where chunks are read only, none is needed.
    """

    codec: int | None
    level: int = 0

    @classmethod
    def chosen(cls, options: StoreConfig) -> "Filters":
        """Those that the settings name."""
        return cls({"none": None, "lz4": _LZ4, "zstd": _ZSTD}[options.compression], options.compression_level)

    @classmethod
    def found(cls, dataset: h5py.Dataset) -> "Filters":
        """Those that a data set declares.

        Raises:
            ValueError: this program writes no such data sets.
        """
        declared = dataset.id.get_create_plist()
        numbers = [declared.get_filter(position)[0] for position in range(declared.get_nfilters())]
        if numbers[-1:] != [h5py.h5z.FILTER_FLETCHER32] or numbers[:-1] not in ([], [_LZ4], [_ZSTD]):
            raise ValueError(f"{dataset.name} has the filters {numbers}, expected a codec or none, then a checksum")
        return cls(*numbers[:-1] or [None])

    @property
    def declared(self) -> dict[str, Any]:
        """What makes h5py write them down in a new data set."""
        if self.codec is None:
            return {"fletcher32": True}
        codec = hdf5plugin.LZ4() if self.codec == _LZ4 else hdf5plugin.Zstd(clevel=self.level)
        return {"fletcher32": True, **codec}

    def packer(self) -> Callable[[NDArray[Any]], bytes]:
        """Makes the chunk of some values. For one thread: zstd's memory is set up once and not for every chunk."""
        compress: Callable[[memoryview], bytes] = bytes
        if self.codec is not None:
            compress = _lz4_packed if self.codec == _LZ4 else zstandard.ZstdCompressor(self.level).compress

        def packed(values: NDArray[Any]) -> bytes:
            stored = compress(np.ascontiguousarray(values).data.cast("B"))
            return stored + _CHECKSUM.pack(fletcher32(stored))

        return packed

    def unpacker(self, size_bytes: int, *, verified: bool) -> Callable[[memoryview], Any]:
        """Gives the bytes of a chunk's values, a view where nothing is compressed. For one thread.

        A chunk that is not as it was written is a ValueError or one of `DAMAGE`.

        Args:
            size_bytes: how many bytes the values have.
            verified: chunks need not be compared with their checksums.
        """
        zstd = zstandard.ZstdDecompressor()

        def unpacked(chunk: memoryview) -> Any:
            stored = chunk[: -_CHECKSUM.size]
            if not verified and chunk[-_CHECKSUM.size :] != _CHECKSUM.pack(fletcher32(stored)):
                raise ValueError("a chunk fails its checksum")
            if self.codec == _ZSTD:
                return zstd.decompress(stored, size_bytes)
            return stored if self.codec is None else _lz4_unpacked(stored, size_bytes)

        return unpacked


def _lz4_packed(raw: memoryview) -> bytes:
    """One block; it stays as it is where compressing does not make it smaller."""
    block = pa.Codec("lz4_raw").compress(raw, asbytes=True)
    if len(block) >= len(raw):
        block = bytes(raw)
    return _LZ4_SIZES.pack(len(raw), len(raw)) + _LZ4_LENGTH.pack(len(block)) + block


def _lz4_unpacked(stored: memoryview, size_bytes: int) -> Any:
    """What one block or several hold."""
    size, block_bytes = _LZ4_SIZES.unpack_from(stored)
    if size != size_bytes:
        raise ValueError(f"a chunk of {size} bytes, expected {size_bytes}")
    parts, at = [], _LZ4_SIZES.size
    while size:
        (length,) = _LZ4_LENGTH.unpack_from(stored, at)
        block, expected = stored[at + _LZ4_LENGTH.size :][:length], min(size, block_bytes)
        parts.append(block if length == expected else pa.Codec("lz4_raw").decompress(block, expected))
        at, size = at + _LZ4_LENGTH.size + length, size - expected
    return parts[0] if len(parts) == 1 else b"".join(parts)


def fletcher32(data: bytes | memoryview) -> int:
    """HDF5's checksum of some bytes, in 30 us for 68 kB.

    The sums of little-endian words are those of big-endian ones with their bytes exchanged: 256 is its own inverse
    modulo 65,535. A sum that is a multiple of it counts as 65,535, unless all words are 0.
    """
    words = np.frombuffer(data, "<u2", len(data) // 2).astype(np.uint64)
    if len(data) % 2:
        words = np.append(words, np.uint64(data[-1]))
    sums = int(words.sum()), int(words @ np.arange(len(words), 0, -1, dtype=np.uint64))
    first, second = (int.from_bytes((one and (one - 1) % _FLETCHER + 1).to_bytes(2, "little")) for one in sums)
    return second << 16 | first
