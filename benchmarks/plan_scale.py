"""`biam-pipe plan` and `status` on a finished work folder of nine million images: time and memory.

    python -m benchmarks.plan_scale --images 9000000

The folder holds the receipts and stage records of all shards of index, download, extract and split, written by the same
ledger that a run uses, and files of the right names and one byte; only what they hold is made up.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measured import biam_pipe
from benchmarks.openimages_files import Size, write_files, write_toml
from pipeline import flow
from pipeline.engine.graph import Frontier, Node, PendingTask, resolve
from pipeline.engine.ledger import library_versions, written
from pipeline.engine.sources import Sources
from pipeline.files.inputs import shard_name
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
    stem = "whole" if shard is None else shard_name(shard)
    file = FileReceipt(path=f"{node.folder}/{stem}.parquet", size_bytes=1, sha256="0" * 64)
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
    storage.local(node.folder).mkdir(parents=True, exist_ok=True)
    for receipt in node.valid.values():
        storage.local(receipt.files[0].path).write_bytes(b"x")
        path = node.ledger.receipt_path(receipt.shard)
        storage.local(path).write_bytes(written(receipt, path))
    node.ledger.write_record(node.recipe, node.receipts())


def main() -> None:
    """Write the folder, then plan and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=9_000_000)
    arguments = parser.parse_args()
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
