"""How fast pages of `biam-pipe view` come, and how much memory that takes, over planted tables of many images.

    python -m benchmarks.view [--images 120000] [--labels 500]

Tables of index, download, split and of one evaluated run are written as the stages leave them, with receipts and no
pictures. The server is a process of its own. The first page is asked for once it listens: nothing was read before.
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import tomli_w

from benchmarks.measured import tree_bytes
from pipeline import flow
from pipeline.engine.graph import Graph, Node, resolve
from pipeline.engine.ledger import library_versions
from pipeline.engine.sources import Sources
from pipeline.files.storage import Storage
from pipeline.files.tables import write_table
from pipeline.inference.kept_scores import write_scores
from pipeline.metrics.score_table import ScoreTable
from pipeline.settings.layers import configuration
from schemas import tables
from schemas.config import Config
from schemas.receipts import FileReceipt, Receipt

_SHARD_IMAGES = 1024
_RUN = "runs/biam-planted-00000000"
_SPLITS = np.array(["train", "train", "train", "validation", "test"])
_PATHS = (
    ("first page", "/images"),
    ("the same once more", "/images"),
    ("last page", "/images?page=5000"),
    ("filtered by split, all shards read", "/images?split=test"),
    ("the same once more", "/images?split=test"),
    ("images of a label", "/images?label=label+7"),
    ("wrong ones, all scores read", "/images?outcome=wrong"),
    ("wrong ones, once more", "/images?outcome=wrong&page=50"),
    ("failures", "/failures"),
    ("labels", "/labels"),
    ("state", "/"),
)


def plant(work: Path, images: int, labels: int) -> list[str]:
    """Write the tables; the settings they belong to."""
    sets = [f"dataset.num_images={images}", f"dataset.shard_images={_SHARD_IMAGES}", "backbone.name=tiny"]
    config = configuration("demo", None, {}, sets, work)
    storage = Storage(str(work.resolve() / "demo"))
    graph = resolve(flow.stages(config, Sources(storage)), storage)
    for stage in ("train", "evaluate"):
        graph[stage].place(_RUN)
    rng = np.random.default_rng(0)
    names = {"label_index": range(labels), "label_id": [f"id{n}" for n in range(labels)]}
    named = {**names, "name": [f"label {n}" for n in range(labels)]}
    tested: list[str] = []
    receipts: dict[str, list[Receipt]] = {stage: [] for stage in ("index", "download", "split")}
    for shard, first in enumerate(range(0, images, _SHARD_IMAGES)):
        ids = [f"{number:016x}" for number in range(first, min(first + _SHARD_IMAGES, images))]
        splits = _SPLITS[rng.integers(0, len(_SPLITS), len(ids))].tolist()
        statuses = np.where(rng.random(len(ids)) < 0.02, "not_found", "ok").tolist()
        known_to = zip(ids, splits, statuses, strict=True)
        tested += [name for name, split, status in known_to if (split, status) == ("test", "ok")]
        positive = [sorted(set(rng.integers(0, labels, 4).tolist())) for _ in ids]
        empty = [None] * len(ids)
        index = {field.name: empty for field in tables.INDEX} | {"image_id": ids, "removed": [False] * len(ids)}
        known = {"image_id": ids, "positive": positive, "negative": empty, "source": ["human"] * len(ids)}
        fetched = {field.name: empty for field in tables.DOWNLOADS} | {"image_id": ids, "status": statuses}
        write = partial(_left, graph, shard=shard, rows=len(ids))
        receipts["index"].append(
            write("index", {"index": (index, tables.INDEX), "annotations": (known, tables.ANNOTATIONS)})
        )
        counts = dict(Counter(statuses))
        receipts["download"].append(write("download", {"downloads": (fetched, tables.DOWNLOADS)}, counts=counts))
        dealt = {"image_id": ids, "split": splits}
        receipts["split"].append(write("split", {"images": (dealt, tables.IMAGE_SPLITS)}))
    receipts["index"].append(_left(graph, "index", {"labels": (named, tables.LABELS)}, shard=None, rows=labels))
    for stage, left in receipts.items():
        graph[stage].ledger.write_record(graph[stage].recipe, left)
    _plant_run(graph, config, named, tested, rng)
    return sets


def _plant_run(
    graph: Graph, config: Config, named: dict[str, Any], tested: list[str], rng: np.random.Generator
) -> None:
    """A run with random scores of the test images."""
    storage, labels = graph["train"].ledger.storage, len(named["name"])
    layers = {name: getattr(config, name).model_dump(mode="json", exclude_none=True) for name in ("dataset", "model")}
    storage.write(graph["train"].outputs["config"].at(None), tomli_w.dumps(layers).encode())
    _receipt(graph["train"], ("config",), None, 0, {}, {})
    section = {"headline": "map", "map": 0.5, "labels": labels, "chance": {"map": 0.1}}
    metrics = {"images": len(tested), "protocol": "planted", "gzsl": section}
    evaluate = graph["evaluate"]
    storage.write(evaluate.outputs["metrics"].at(None), json.dumps(metrics).encode())
    per_label = {**named, "role": ["seen"] * labels, "positives": [9] * labels, "negatives": [9] * labels}
    per_label |= {"average_precision": rng.random(labels).tolist(), "chance": [0.1] * labels}
    write_table(storage, evaluate.outputs["per_label"].at(None), pa.table(per_label, schema=tables.PER_LABEL))
    codes = np.where(rng.random((len(tested), labels)) < 0.02, 1, -1).astype(np.int8)
    scores = rng.random((len(tested), labels), np.float32)
    with storage.commit(evaluate.outputs["scores"].at(None)) as temporary:
        write_scores(temporary, tested, ScoreTable.of(scores, codes))
    _receipt(evaluate, ("metrics", "per_label", "scores"), None, len(tested), {}, {"keeps_scores": True})


def _left(
    graph: Graph,
    stage: str,
    written: dict[str, tuple[dict[str, Any], pa.Schema]],
    *,
    shard: int | None,
    rows: int,
    counts: dict[str, int] | None = None,
) -> Receipt:
    node = graph[stage]
    for name, (columns, schema) in written.items():
        write_table(node.ledger.storage, node.outputs[name].at(shard), pa.table(columns, schema=schema))
    return _receipt(node, tuple(written), shard, rows, counts or {}, {})


def _receipt(
    node: Node, names: tuple[str, ...], shard: int | None, rows: int, counts: dict[str, int], facts: dict[str, Any]
) -> Receipt:
    storage, files = node.ledger.storage, []
    for name in names:
        path = node.outputs[name].at(shard)
        data = storage.read(path)
        files.append(FileReceipt(path=path, size_bytes=len(data), sha256=sha256(data).hexdigest()))
    receipt = Receipt(
        stage=node.name, shard=shard, fingerprint="0" * 64, content="0" * 64, files=tuple(files), rows=rows,
        counts=counts, facts=facts, started_at=1.7e9, seconds=1.0, versions=library_versions(),
    )  # fmt: skip
    node.ledger.write(receipt)
    return receipt


def _asked(port: int, path: str) -> float:
    """Seconds until a page is there."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path} was answered with {answer.status}")
    return time.perf_counter() - started


def measure(work: Path, sets: list[str]) -> None:
    """Start the server, ask for pages, and tell seconds and memory."""
    command = [sys.executable, "-m", "cli", "view", "--dataset", "demo", "--work", str(work), "--port", "0"]
    command += [word for one in sets for word in ("--set", one)]
    started = time.perf_counter()
    with psutil.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        print(f"listens after {time.perf_counter() - started:.2f} s")
        for name, path in _PATHS:
            seconds = _asked(port, path)
            print(f"{name:<36} {seconds:6.3f} s  {tree_bytes(process) / 1e6:6.0f} MB", flush=True)
        began = time.perf_counter()
        with ThreadPoolExecutor(200) as pool:
            times = list(pool.map(partial(_asked, port), ["/images?page=9", "/images?split=test"] * 100))
        told = f"{time.perf_counter() - began:.2f} s, the slowest {max(times):.2f} s"
        print(f"200 requests at once: {told}, {tree_bytes(process) / 1e6:.0f} MB")
        process.terminate()


def main() -> None:
    """Plant, measure, and leave nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=120_000)
    parser.add_argument("--labels", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sets = plant(Path(folder), arguments.images, arguments.labels)
        measure(Path(folder), sets)


if __name__ == "__main__":
    main()
