"""The closed forms over many images: seconds, memory above the idle process, and what reading alone takes.

    python -m benchmarks.ridge [--images 20000] [--region-images 4096]

Generated maps of VGG-19's sizes in Parquet, 1,024 rows a shard; 925 seen labels of which an image has four, words of
300. A fifth of the images validates. Timed are all of what training does with them: one pass that sums, the solutions
for four strengths, one pass that validates each, and the choice. Beside it stands one pass that reads the same maps and
does nothing. Files lie in the page cache, and have been compared with their receipts. Preset `default` chooses among
all forms by held-out labels.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.measured import cpu
from benchmarks.stores import global_rows, rows, shards, write_ours
from benchmarks.train_step import highest_rss_bytes
from pipeline.batches.annotations import Annotations
from pipeline.batches.feature_cache import ImageSet
from pipeline.batches.order import sequential
from pipeline.batches.ragged import Ragged
from pipeline.batches.selection import BLOCK_ROWS, Selection
from pipeline.batches.shards import FeatureShards
from pipeline.batches.stream import batches
from pipeline.files.inputs import shard_name
from pipeline.files.storage import Storage
from pipeline.metrics.score_table import open_score_table
from pipeline.models import ridge
from pipeline.models.ridge.settings import RidgeConfig
from pipeline.training.fitting import batch_images, fitting
from pipeline.training.loop import Material
from schemas.config import StoreConfig

SHARD_ROWS, LABELS, POSITIVES, WORD, VALIDATES = 1024, 925, 4, 300, 5


def selection(images: np.ndarray) -> Selection:
    """These images, each with labels."""
    labels = np.random.default_rng(1).integers(0, LABELS, len(images) * POSITIVES).astype(np.int32)
    positive = Ragged.from_lengths(np.full(len(images), POSITIVES), labels)
    nothing = Ragged.from_lengths(np.zeros(len(images), np.int64), np.zeros(0, np.int32))
    known = Annotations(LABELS, positive, nothing, np.ones(len(images), np.bool_))
    shard, row = np.divmod(images, SHARD_ROWS)
    return Selection(shard.astype(np.int32), row.astype(np.int32), images // BLOCK_ROWS, known, len(images), {})


def written(folder: str, images: int, needs: str) -> None:
    """The shards."""
    rng, storage, files = np.random.default_rng(0), Storage(folder), []
    for start in range(0, images, SHARD_ROWS):
        size = min(SHARD_ROWS, images - start)
        maps = global_rows(size, rng) if needs == "global" else {"conv5": rows(size)["conv5"]} | global_rows(size, rng)
        files.append(write_ours(storage, maps, StoreConfig(), shard_name(start // SHARD_ROWS)).model_dump())
    Path(folder, "files.json").write_text(json.dumps(files))


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def read(features: FeatureShards, images: Selection) -> None:
    """One pass that does nothing with the maps."""
    size = batch_images(features.maps)
    with closing(batches(features, images, sequential(images.block, max(4, size // BLOCK_ROWS), size))) as stream:
        for _ in stream:
            pass


def measure(folder: str, images: int, needs: str, preset: str) -> None:
    """In a process of its own: print the figures as JSON."""
    from benchmarks.stores import spec
    from schemas.receipts import FileReceipt

    files = [FileReceipt(**file) for file in json.loads(Path(folder, "files.json").read_text())]
    columns = ("fc7",) if needs == "global" else ("conv5", "fc7")
    left = shards(Storage(folder), "parquet", *files)
    features = FeatureShards(left.inputs, left.store, left.numbers, spec(columns)).reading([needs])
    every = np.arange(images)
    train, validation = (selection(every[(every % VALIDATES == 0) == last]) for last in (False, True))
    words = torch.nn.functional.normalize(torch.randn(LABELS, WORD, generator=torch.Generator().manual_seed(0)))
    material = Material(features, ImageSet(train), ImageSet(validation), None, words)
    open_table = partial(open_score_table, Path(folder), memory_bytes=2**30)
    read(features, train)  # each shard is hashed
    torch.zeros(8, 8) @ torch.zeros(8, 8)
    idle_bytes = psutil.Process().memory_info().rss
    reading_s = timed(lambda: (read(features, train), read(features, validation)))
    settings = RidgeConfig(preset=preset, feature=needs, **ridge.PRESETS[preset].get("model", {}))
    fit_s = timed(lambda: ridge.fit(settings, fitting(material, open_table, 0)))
    print(json.dumps({"fit_s": fit_s, "reading_s": reading_s, "peak_bytes": highest_rss_bytes() - idle_bytes}))


def main() -> None:
    """Measure each form on each map."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--region-images", type=int, default=4096)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        folder, images, needs, preset = arguments.one
        measure(folder, int(images), needs, preset)
        return
    print(cpu(), flush=True)
    for needs, images in (("global", arguments.images), ("region", arguments.region_images)):
        with tempfile.TemporaryDirectory() as folder:
            written(folder, images, needs)
            for preset in ("devise", "conse", "eszsl", "default"):
                command = [sys.executable, "-m", "benchmarks.ridge", "--one", folder, str(images), needs, preset]
                told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
                print(
                    f"{needs}, {images} images, {preset}: {told['fit_s']:.1f} s, "
                    f"{told['fit_s'] / told['reading_s']:.2f} times reading alone ({told['reading_s']:.1f} s), "
                    f"{told['peak_bytes'] / 1e6:,.0f} MB above idle",
                    flush=True,
                )


if __name__ == "__main__":
    main()
