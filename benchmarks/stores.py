"""Feature stores beside the released form: images/s written and read, size, sequential read, one random row.

    python -m benchmarks.stores --images 1024

Rows as VGG-19 leaves them after ReLU: 14 x 14 x 512 and 4,096 float16, each channel of each image with a rate of zeros
of its own, three quarters in the mean. The released form is what the authors of BiAM shared: float32 [512, 196], one
gzip dataset an image. Both are written with fsync. Ours includes what a commit takes: the content hash beside the
store, the rename, the receipt's sha256; its reading includes the sha256 of the first touch, and gives arrays of the
caller's own. What is read lies in the page cache.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.measured import cpu
from pipeline.batches.shards import FeatureShards
from pipeline.engine.ledger import file_receipt
from pipeline.files.inputs import Inputs, OutputFile, StageFiles
from pipeline.files.storage import Storage
from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch
from pipeline.stores.content import ContentHash
from schemas.config import StoreConfig
from schemas.features import FeatureSpec, MapSpec, PreprocessSpec
from schemas.receipts import FileReceipt, Receipt

BATCH = 16
READ_ROWS = 512
REPEATS = 3
RANDOM_ROWS = 100


def rows(images: int) -> dict[str, NDArray[np.float16]]:
    """Sparse maps."""
    rng = np.random.default_rng(0)
    conv5 = np.empty((images, 14, 14, 512), "<f2")
    for image in range(images):
        level = rng.normal(-0.8, 0.35, 512)
        conv5[image] = np.maximum(rng.standard_normal((14, 14, 512), dtype="f4") + level, 0) * 3
    return {"conv5": conv5} | global_rows(images, rng)


def global_rows(images: int, rng: np.random.Generator) -> dict[str, NDArray[np.float16]]:
    """The global feature alone."""
    return {"fc7": np.maximum(rng.normal(-0.8, 1, (images, 4096)), 0).astype("<f2")}


def spec(columns: Collection[str] = ("conv5", "fc7")) -> FeatureSpec:
    """Of such rows with these maps."""
    preprocess = PreprocessSpec(
        decoder="none", orientation="none", resize=(224, 224), interpolation="none", antialias=True,
        mean=(0, 0, 0), std=(1, 1, 1),
    )  # fmt: skip
    both = (
        MapSpec(column="conv5", role="region", layer="relu5_4", shape=(14, 14, 512)),
        MapSpec(column="fc7", role="global", layer="relu7", shape=(4096,), layout="C"),
    )
    maps = tuple(one for one in both if one.column in columns)
    return FeatureSpec(
        backbone="generated", weights="none", weights_sha256="0" * 64, maps=maps, preprocess=preprocess,
        precision="fp32", recipe="0" * 64, versions={},
    )  # fmt: skip


def batches(maps: dict[str, NDArray[np.float16]]) -> Iterator[FeatureBatch]:
    """As extraction hands them over."""
    for start in range(0, len(maps["fc7"]), BATCH):
        cut = {column: values[start : start + BATCH] for column, values in maps.items()}
        num = len(cut["fc7"])
        yield FeatureBatch([f"image {start + row}" for row in range(num)], ["ok"] * num, [None] * num, cut)


def best(action: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


def write_ours(
    storage: Storage, maps: dict[str, NDArray[np.float16]], options: StoreConfig, name: str = "shard-00000"
) -> FileReceipt:
    """One shard as the stage commits it."""
    store, described = STORES.load(options.name), spec(maps)
    content = ContentHash(described)
    path = f"{name}{store.SUFFIX}"
    with storage.commit(path) as temporary:
        store.write(temporary, described, options, content.passing(batches(maps)))
    content.hexdigest()
    return file_receipt(storage, path)


def write_two(storage: Storage, maps: dict[str, NDArray[np.float16]], options: StoreConfig) -> None:
    """Two shards at a time, half of the rows each."""
    half = len(maps["fc7"]) // 2
    halves = [{column: values[cut] for column, values in maps.items()} for cut in (slice(half), slice(half, None))]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda number: write_ours(storage, halves[number], options, f"half-{number}"), range(2)))


def shards(storage: Storage, store: str, *files: FileReceipt) -> FeatureShards:
    """Fresh: nothing is remembered as compared."""
    receipts = tuple(
        Receipt.model_construct(stage="extract", shard=number, files=(file,), counts={}, parts={})
        for number, file in enumerate(files)
    )
    left = StageFiles("", {"features": OutputFile(f"{{shard}}{STORES.load(store).SUFFIX}")}, receipts)
    return FeatureShards(Inputs(storage, "stores", {"extract": left}), store, tuple(range(len(files))), spec())


def read_ours(features: FeatureShards, images: int) -> None:
    """All rows in order."""
    for start in range(0, images, READ_ROWS):
        row = np.arange(start, min(start + READ_ROWS, images), dtype=np.int32)
        features.read(np.zeros_like(row), row, features.spec.maps)


def random_rows(features: FeatureShards, images: int) -> list[float]:
    """Seconds of each of some rows, the open shard at hand."""
    times = []
    with features.open(0) as reader:
        reader.image_ids()
        for row in np.random.default_rng(1).integers(0, images, RANDOM_ROWS).tolist():
            started = time.perf_counter()
            for one in features.spec.maps:
                reader.read(range(row, row + 1), one.column).copy()
            times.append(time.perf_counter() - started)
    return times


def write_released(path: Path, maps: dict[str, NDArray[np.float16]]) -> None:
    """The authors' form."""
    labels = np.ones(925, np.int8)
    with h5py.File(path, "w") as file:
        for image, values in enumerate(maps["conv5"]):
            features = values.reshape(196, 512).T.astype(np.float32)
            file.create_dataset(f"image_{image}.jpg-features", data=features, compression="gzip")
            file.create_dataset(f"image_{image}.jpg-labels", data=labels, compression="gzip")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_released(path: Path, images: int) -> None:
    """Each image's features."""
    with h5py.File(path, "r") as file:
        for image in range(images):
            file[f"image_{image}.jpg-features"][:]


def main() -> None:
    """Measure the released form, then each of ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    images = parser.parse_args().images
    maps = rows(images)
    logical = sum(values.nbytes for values in maps.values())
    zeros = ", ".join(f"{(values == 0).mean():.0%} of {column}" for column, values in maps.items())
    print(f"{cpu()}; {images} images, {logical / images / 1e3:.0f} kB each; zeros: {zeros}")
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "released.h5"
        write_s = best(lambda: write_released(path, maps))
        read_s = best(lambda: read_released(path, images))
        size = path.stat().st_size
        print(f"released: write {images / write_s:.0f}/s, read {images / read_s:.0f}/s, {size / images / 1e3:.1f} kB")
        for name in STORES:
            for compression in ("none", "lz4", "zstd"):
                ours(Storage(str(folder)), maps, StoreConfig(name=name, compression=compression), (write_s, read_s))
    finally:
        shutil.rmtree(folder)


def ours(
    storage: Storage, maps: dict[str, NDArray[np.float16]], options: StoreConfig, released: tuple[float, float]
) -> None:
    """Measure one store and compression; prints its line."""
    images = len(maps["fc7"])
    file = write_ours(storage, maps, options)
    write_s = best(lambda: write_ours(storage, maps, options))
    two_s = best(lambda: write_two(storage, maps, options))
    first_s = best(lambda: read_ours(shards(storage, options.name, file), images))
    known = shards(storage, options.name, file)
    hash_s = best(lambda: shards(storage, options.name, file).inputs.path("extract", "features", 0))
    known.inputs.path("extract", "features", 0)
    again_s = best(lambda: read_ours(known, images))
    row_ms = [1e3 * one for one in random_rows(known, images)]
    logical = sum(values.nbytes for values in maps.values())
    size_kb, sha256_ms = file.size_bytes / images / 1e3, hash_s / images * 1e3
    print(
        f"{options.name} {options.compression}, {size_kb:.1f} kB: write {images / write_s:.0f}/s = "
        f"{released[0] / write_s:.1f} x, two shards at a time {released[0] / two_s:.1f} x\n"
        f"  first read {images / first_s:.0f}/s = {released[1] / first_s:.1f} x, sha256 {sha256_ms:.2f} ms an image of "
        f"it; then {logical / again_s / 1e9:.2f} GB/s\n"
        f"  a random row {statistics.median(row_ms):.2f} ms, at most {max(row_ms):.2f}"
    )


if __name__ == "__main__":
    main()
