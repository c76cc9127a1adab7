"""What an epoch reads of feature shards: bytes decompressed per byte used, and images/s by store, row group, threads.

    python -m benchmarks.reading [--images 2048]
    python -m benchmarks.reading --cold [--images 8192]

Rows of VGG-19's sizes (`stores.py`), 1,024 a shard, zstd. An epoch visits the share of all rows that the training split
has where validation images are drawn by a hash: 80 % in the mean, scattered over all row groups. `decompressed` counts
the rows that the store has to go through: in Parquet those from the start of a row group to the last one wanted, in
HDF5 those wanted. Files lie in the page cache. The first epoch, in which each shard is hashed once, is not counted, and
what the hash takes is told apart. The maps are those of a model that reads both, and of one that reads the global one.

With `--cold` an epoch is read as if there were more features than memory holds: no page of a shard is in memory when it
begins, so that each comes from the disk. Told for each store and compression, with the hours that the 5.5 million
labelled images of Open Images would take at that rate, and their bytes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measured import cpu
from benchmarks.stores import rows, shards, write_ours
from pipeline.batches.annotations import Annotations
from pipeline.batches.order import epoch_rng, shuffled
from pipeline.batches.ragged import Ragged
from pipeline.batches.selection import BLOCK_ROWS, Selection
from pipeline.batches.shards import FeatureShards
from pipeline.batches.stream import batches
from pipeline.files.inputs import shard_name
from pipeline.files.storage import Storage
from schemas.config import StoreConfig, TrainConfig

SHARD_ROWS = 1024
BATCH = 32
USED = 0.8
OPEN_IMAGES = 5_500_000  # images with labels


@dataclass
class _Counting:
    """A reader that counts the rows which it goes through."""

    reader: Any
    store: str
    counted: dict[str, int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)

    def each(self, wanted: Sequence[int], column: str) -> Iterator[NDArray[Any]]:
        """The maps of some rows of one row group."""
        group = next(one for one in self.reader.row_groups if wanted[0] in one)
        gone_through = len(wanted) if self.store == "hdf5" else wanted[-1] + 1 - group.start
        for values in self.reader.each(wanted, column):
            yield values
        self.counted["bytes"] = self.counted.get("bytes", 0) + gone_through * values.nbytes


@dataclass(frozen=True)
class Counted(FeatureShards):
    """Shards whose readers count."""

    counted: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def open(self, position: int) -> Iterator[Any]:
        """The reader of a shard."""
        with super().open(position) as reader:
            yield _Counting(reader, self.store, self.counted)


def selection(images: int) -> Selection:
    """A random 80 % of all rows, without annotations."""
    chosen = np.flatnonzero(np.random.default_rng(0).random(images) < USED)
    nothing = Ragged.from_lengths(np.zeros(len(chosen), np.int64), np.zeros(0, np.int32))
    known = Annotations(1, nothing, nothing, np.ones(len(chosen), np.bool_))
    shard, row = np.divmod(chosen, SHARD_ROWS)
    return Selection(shard.astype(np.int32), row.astype(np.int32), chosen // BLOCK_ROWS, known, len(chosen), {})


def epoch(features: FeatureShards, chosen: Selection, number: int, workers: int) -> tuple[float, int]:
    """Seconds, and bytes used."""
    order = shuffled(chosen.block, epoch_rng(0, number), TrainConfig().shuffle_window_blocks, BATCH)
    started, used = time.perf_counter(), 0
    for batch in batches(features, chosen, order, workers):
        used += sum(values.nbytes for values in batch.maps)
    return time.perf_counter() - started, used


def written(folder: str, maps: dict[str, NDArray[np.float16]], options: StoreConfig) -> Counted:
    """All rows in shards of a store."""
    storage, files = Storage(folder), []
    for start in range(0, len(maps["fc7"]), SHARD_ROWS):
        shard = {column: values[start : start + SHARD_ROWS] for column, values in maps.items()}
        files.append(write_ours(storage, shard, options, shard_name(len(files))))
    return Counted(**vars(shards(storage, options.name, *files)))


def size_bytes(features: FeatureShards) -> int:
    """Of all shards on disk."""
    return sum(features.inputs.file("extract", "features", number).size_bytes for number in features.numbers)


def hashed(features: FeatureShards) -> float:
    """Seconds in which all shards are compared with their receipts."""
    started = time.perf_counter()
    for number in features.numbers:
        features.inputs.path("extract", "features", number)
    return time.perf_counter() - started


def forget(features: FeatureShards) -> None:
    """Drop the pages of all shards from memory."""
    for number in features.numbers:
        descriptor = os.open(features.inputs.path("extract", "features", number), os.O_RDONLY)
        try:
            os.fsync(descriptor)  # pages that are not on disk yet stay
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def cold(maps: dict[str, NDArray[np.float16]], chosen: Selection) -> None:
    """Print a line for each store, compression and row group, with no page in memory when an epoch begins."""
    images = len(maps["fc7"])
    for name, group in (("parquet", 32), ("parquet", 4), ("hdf5", 32)):
        for compression in ("zstd", "none"):
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # not in memory, as /tmp may be
                options = StoreConfig(name=name, row_group_rows=group, compression=compression)
                features = written(folder, maps, options)
                read, size, hash_s = features.reading(("region", "global")), size_bytes(features), hashed(features)
                rates = []
                for number, workers in ((1, 1), (2, 2)):
                    forget(features)
                    rates.append(len(chosen) / epoch(read, chosen, number, workers)[0])
                hours = OPEN_IMAGES / max(rates) / 3600
                read_gb, hash_h = size / images * OPEN_IMAGES / 1e9, hash_s * OPEN_IMAGES / images / 3600
                print(
                    f"{name}, {compression}, row groups of {group}: {rates[0]:.0f} images/s with one thread, "
                    f"{rates[1]:.0f} with two; Open Images: {hours:.1f} h an epoch of {read_gb:,.0f} GB, "
                    f"{hash_h:.1f} h for the first look's hashes",
                    flush=True,
                )


def main() -> None:
    """Print a line for each way to lie on disk, and for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2 * SHARD_ROWS)
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    images: int = arguments.images
    maps, chosen = rows(images), selection(images)
    print(f"{cpu()}; {images} images, {len(chosen) / images:.1%} of them used in an epoch")
    if arguments.cold:
        cold(maps, chosen)
        return
    stored = [("parquet", 32), ("parquet", 8), ("parquet", 4), ("parquet", 2), ("parquet", 1), ("hdf5", 32)]
    for name, group in stored:
        with tempfile.TemporaryDirectory() as folder:
            features = written(folder, maps, StoreConfig(name=name, row_group_rows=group))
            size, hash_s = size_bytes(features), hashed(features)
            print(f"{name}, row groups of {group}, {size / images / 1e3:.1f} kB an image, sha256 {hash_s:.2f} s")
            for needs in (("region", "global"), ("global",)):
                read = features.reading(needs)
                epoch(read, chosen, 0, workers=0)
                features.counted.clear()
                seconds, used = epoch(read, chosen, 1, workers=0)
                ratio, rate = features.counted["bytes"] / used, len(chosen) / seconds
                print(f"  {' and '.join(needs)}: {ratio:.3f} bytes decompressed per byte used, {rate:.0f} images/s")
            for workers in (1, 4) if (name, group) == stored[0] else ():
                seconds, _ = epoch(features.reading(("region", "global")), chosen, 1, workers)
                print(f"  both, {workers} threads: {len(chosen) / seconds:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
