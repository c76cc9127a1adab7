"""Features through torch's loaders beside the product's own reading: images/s, in turns, and whether rows are equal.

    python -m benchmarks.door [--images 2000] [--rounds 3]

A feature folder alone, as `biam_pipe.open_features` takes it: rows of VGG-19's sizes (`stores.py`), 1,024 a shard,
zstd. An epoch visits every image in the order on disk, in batches of 32, and looks at one number of each map. The
product's own way is `batches.stream` with `train.loader_workers` as by default. Loaders have no workers, or forked ones
that persist, or spawned ones; their first epoch, in which workers start and shards are compared with their receipts, is
told apart. Beside the rate stand the CPU seconds of all processes: on a machine with other work a way with more threads
and processes gets a larger share of it. Threads that wait sleep, as in all commands. Files lie in the page cache.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.machine.waiting import patient

os.environ.update(patient())  # as the commands do, before torch is imported: loaders stack samples with its threads

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from benchmarks.measured import cpu
from benchmarks.stores import batches as rows_of
from benchmarks.stores import rows, spec
from biam_pipe import FeatureDataset, open_features
from pipeline.batches.annotations import Annotations
from pipeline.batches.order import sequential
from pipeline.batches.ragged import Ragged
from pipeline.batches.selection import BLOCK_ROWS, Selection
from pipeline.batches.shards import FeatureShards
from pipeline.batches.stream import batches
from pipeline.engine.ledger import Ledger, file_receipt
from pipeline.engine.task import RECORD
from pipeline.files.inputs import shard_name
from pipeline.files.storage import Storage
from pipeline.stores.shard import write_shard
from schemas.config import StoreConfig, TrainConfig
from schemas.receipts import Receipt

SHARD_ROWS = 1024
BATCH = 32
FOLDER = "features/generated-00000000/parquet"


def written(root: Path, maps: dict[str, NDArray[np.float16]]) -> None:
    """A feature folder with its receipts, as a run leaves it."""
    storage = Storage(str(root))
    ledger = Ledger(storage, "extract", FOLDER, RECORD)
    for number, start in enumerate(range(0, len(maps["fc7"]), SHARD_ROWS)):
        part = {column: values[start : start + SHARD_ROWS] for column, values in maps.items()}
        path = f"{FOLDER}/{shard_name(number)}.parquet"
        with storage.commit(path) as temporary:
            content = write_shard(temporary, spec(), StoreConfig(), rows_of(part))
        ledger.write(receipt(storage, path, number, len(part["fc7"]), content.parts))
    path = f"{FOLDER}/spec.json"
    storage.write(path, spec().model_dump_json().encode())
    ledger.write(receipt(storage, path, None, 0, {}))
    ledger.write_record({}, ledger.read_receipts())


def receipt(storage: Storage, path: str, shard: int | None, images: int, parts: dict[str, str]) -> Receipt:
    """Of one file."""
    return Receipt(
        stage="extract", shard=shard, fingerprint="", content="", parts=parts, files=(file_receipt(storage, path),),
        rows=images, counts={"ok": images} if images else {}, facts={}, started_at=0, seconds=0, versions={},
    )  # fmt: skip


def own_way(features: FeatureShards, images: int) -> Callable[[], int]:
    """An epoch of the product's own reading, in the order on disk."""
    nothing = Ragged.from_lengths(np.zeros(images, np.int64), np.zeros(0, np.int32))
    known = Annotations(1, nothing, nothing, np.ones(images, np.bool_))
    shard, row = np.divmod(np.arange(images), SHARD_ROWS)
    block = (shard << 32) | (row // BLOCK_ROWS)
    chosen = Selection(shard.astype(np.int32), row.astype(np.int32), block, known, images, {})
    order = sequential(block, TrainConfig().shuffle_window_blocks, BATCH)

    def epoch() -> int:
        seen = 0
        for batch in batches(features, chosen, order, TrainConfig().loader_workers):
            assert all(values.reshape(-1)[0] >= 0 for values in batch.maps)
            seen += len(batch)
        return seen

    return epoch


def loader(data: FeatureDataset, workers: int, method: str | None) -> Callable[[], int]:
    """An epoch of a loader."""
    options: dict[str, Any] = {"persistent_workers": True, "multiprocessing_context": method} if workers else {}
    order = data.sampler(batch_size=BATCH, num_workers=workers)
    batched = DataLoader(data, batch_size=BATCH, sampler=order, num_workers=workers, **options)

    def epoch() -> int:
        seen = 0
        for batch in batched:
            assert all(batch[name].reshape(-1)[0] >= 0 for name in ("region", "global"))
            seen += len(batch["index"])
        return seen

    return epoch


def cpu_s() -> float:
    """CPU seconds of this process and those that it started."""
    own = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in [own, *own.children(recursive=True)])


def equal(data: FeatureDataset, maps: dict[str, NDArray[np.float16]], workers: int, method: str | None) -> bool:
    """Whether a loader gives every row once, bit for bit."""
    seen = []
    order = data.sampler(shuffle=True, batch_size=BATCH, num_workers=workers)
    context = method if workers else None
    for batch in DataLoader(data, BATCH, sampler=order, num_workers=workers, multiprocessing_context=context):
        index = batch["index"].numpy()
        seen += index.tolist()
        for name, column in (("region", "conv5"), ("global", "fc7")):
            if not torch.equal(batch[name].view(torch.int16), torch.from_numpy(maps[column][index].view(np.int16))):
                return False
    return sorted(seen) == list(range(len(data)))


def main() -> None:
    """Print a line for each way to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    images: int = arguments.images
    maps = rows(images)
    with tempfile.TemporaryDirectory() as name:
        written(Path(name), maps)
        features = open_features(Path(name, FOLDER))
        print(f"{cpu()}; {json.dumps(features.counts)}, batches of {BATCH}")
        ways: dict[str, Callable[[], int]] = {
            "the product's own reading": own_way(features._shards.reading(["region", "global"]), images)
        }
        kinds = [(0, None), (1, "fork"), (4, "fork"), (1, "spawn"), (4, "spawn")]
        for workers, method in kinds:
            ways[f"{workers} workers{f', {method}' if method else ''}"] = loader(
                features.torch_dataset(), workers, method
            )
        times: dict[str, list[float]] = {way: [] for way in ways}
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(arguments.rounds + 1):
            for way, epoch in ways.items():
                started, cpu_before = time.perf_counter(), cpu_s()
                assert epoch() == images
                times[way].append(time.perf_counter() - started)
                spent[way].append(cpu_s() - cpu_before)
        own = statistics.median(next(iter(times.values()))[1:])
        for way, (first, *others) in times.items():
            median, cpu_seconds = statistics.median(others), statistics.median(spent[way][1:])
            print(
                f"{way}: {images / median:.0f} images/s, {own / median:.2f} of it, "
                f"{1000 * cpu_seconds / images:.2f} CPU s for 1,000 images; first epoch {first:.2f} s",
                flush=True,
            )
        for workers, method in kinds:
            same = equal(features.torch_dataset(), maps, workers, method)
            print(f"{workers} workers, {method}: {'equal rows' if same else 'OTHER ROWS'}", flush=True)


if __name__ == "__main__":
    main()
