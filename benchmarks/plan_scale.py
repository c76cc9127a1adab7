"""`biam-pipe plan` of a large folder before anything ran, and `plan` and `status` of nine million images: time, memory.

    python -m benchmarks.plan_scale --files 100000 --images 9000000

The first has as many lines in its CSV as it has files; its plan is timed before there is an index, and with one. The
second is a finished work folder: it holds the receipts and stage records of all shards of index, download, extract and
split, written by the same ledger that a run uses, and files of the right names and one byte; only what they hold is
made up.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measured import biam_pipe
from benchmarks.openimages_files import Size, write_files, write_toml
from pipeline import flow
from pipeline.engine.graph import Frontier, Node, PendingTask, resolve
from pipeline.engine.ledger import library_versions, written
from pipeline.engine.sources import Sources
from pipeline.files.storage import Storage
from pipeline.settings.layers import configuration
from schemas.receipts import FileReceipt, Receipt

_STAGES = ("index", "download", "extract", "split")
_SHARD_IMAGES = 1024


def finish(config_file: Path, work: Path, images: int) -> None:
    """Write what a finished run of the shard-wise stages leaves."""
    config = configuration("openimages", config_file, {}, [], work)
    storage = Storage(str(work.resolve() / "openimages"))
    sources = Sources(storage)
    stages = [stage for stage in flow.stages(config, sources) if stage.name in _STAGES]
    graph = resolve(stages, storage)
    frontier = Frontier(graph)
    shards = -(-images // _SHARD_IMAGES)
    ready = frontier.start()
    while ready:
        node, task = ready.pop()
        ready += frontier.done(node, _receipts(node, task, shards))
    for node in graph.values():
        _write(storage, node)
    sources.save()


def _receipts(node: Node, task: PendingTask, shards: int) -> list[Receipt]:
    numbers: Sequence[int | None] = [*range(shards), None] if node.stage.decides_shards else [task.shard]
    return [_receipt(node, task.fingerprint, number, shards) for number in numbers]


def _receipt(node: Node, fingerprint: str, shard: int | None, shards: int) -> Receipt:
    output = next(output for output in node.outputs.values() if output.sharded == (shard is not None))
    file = FileReceipt(path=output.at(shard), size_bytes=1, sha256="0" * 64)
    return Receipt(
        stage=node.name,
        shard=shard,
        fingerprint=fingerprint,
        content=f"{shard}".rjust(64, "0"),
        files=(file,),
        rows=_SHARD_IMAGES,
        counts={"ok": 1000, "not_found": 24},
        facts={"bytes": 130_000_000, "shards": shards} if shard is None else {"bytes": 130_000_000},
        started_at=1.7e9 + (shard or 0),
        seconds=60.0,
        versions=library_versions(),
    )


def _write(storage: Storage, node: Node) -> None:
    for receipt in node.valid.values():
        made = storage.local(receipt.files[0].path)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(b"x")
        path = node.ledger.receipt_path(receipt.shard)
        storage.local(path).write_bytes(written(receipt, path))
    node.ledger.write_record(node.recipe, node.receipts())


def plan_files(folder: Path, files: int) -> None:
    """Plan a folder of as many files of 1 kB, for the first time and once it is indexed."""
    (folder / "photos").mkdir()
    rng = random.Random(0)
    labels = [f"label {number}" for number in range(100)]
    with (folder / "labels.csv").open("w") as csv:
        csv.write("image,labels\n")
        for number in range(files):
            name = f"{number // 1000:04}/{number:07}.jpg"
            path = folder / "photos" / name
            if number % 1000 == 0:
                path.parent.mkdir()
            path.write_bytes(bytes(1000))
            csv.write(f"{name},{';'.join(rng.sample(labels, 3))}\n")
    (folder / "unseen.txt").write_text("\n".join(labels[:20]))
    sets = {"labels": folder / "labels.csv", "unseen": folder / "unseen.txt", "folders": f'["{folder}/photos"]'}
    options = ("--dataset", "folder", "--work", str(folder / "work"))
    settings = {"backbone.weights": "random:0", **{f"dataset.{key}": value for key, value in sets.items()}}
    first = biam_pipe("plan", *options, "--json", sets=settings)
    extract = next(line for line in json.loads(first.stdout)["stages"] if line["name"] == "extract")
    size = f"{extract['forecast']['basis']} {extract['forecast']['size_bytes'] / 1e9:,.1f} GB of features"
    print(f"first plan of {files:,} files and as many lines: {first}; {size}")
    biam_pipe("index", *options, "--json", sets=settings)
    print(f"with an index: {biam_pipe('plan', *options, sets=settings)}", flush=True)


def main() -> None:
    """Write the folders, then plan and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=9_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        plan_files(Path(name), arguments.files)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_toml(folder / "biam-pipe.toml", write_files(folder / "files", {"train": Size(100, 500)}))
        with config.open("a") as file:
            file.write('[backbone]\nweights = "random:0"\n')
        finish(config, folder / "work", arguments.images)
        options = ("--dataset", "openimages", "--config", str(config), "--work", str(folder / "work"))
        plan = biam_pipe("plan", *options, "--json")
        done = {line["name"]: (line["done"], line["to_run"]) for line in json.loads(plan.stdout)["stages"]}
        assert all(done[stage][1] == 0 for stage in _STAGES), done
        print(f"plan, {arguments.images:,} images in {done['download'][0]:,} shards of {len(_STAGES)} stages: {plan}")
        print(f"status: {biam_pipe('status', *options)}")
        for record in (folder / "work/openimages").rglob("stage.parquet"):
            record.unlink()
        print(f"plan of the same folder without stage records, as after a crash: {biam_pipe('plan', *options)}")


if __name__ == "__main__":
    main()
