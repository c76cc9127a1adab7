"""What is in a work folder, from receipts alone: while a run is going on, after it, or after it died."""

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.engine.graph import Graph
from pipeline.engine.plan import plan
from pipeline.files.lock import Writer, writer
from pipeline.files.storage import Storage
from schemas.receipts import Receipt, totals


@dataclass(frozen=True)
class StageStatus:
    """What one stage has committed so far, up to date or not.

    Attributes:
        shards: receipts of shards found; of a stage without shards, its receipts: 0 or 1.
        rows: rows in them, failures included.
        size_bytes: of the files they name and that were not dropped.
        pruned: shards of which files were dropped after use.
        counts: rows by status.
        seconds: of work, added up over all tasks.
        images_per_s: while at least one shard was under way; None of a stage without shards.
        bytes_per_s: the same of the bytes that were fetched; None of a stage that fetches none.
        left_s: until all shards are done, if they go on as they went; None where nothing is left, or nothing known.
        notes: what a user should know of it.
    """

    name: str
    shards: int
    rows: int
    size_bytes: int
    counts: dict[str, int]
    seconds: float
    images_per_s: float | None = None
    bytes_per_s: float | None = None
    left_s: float | None = None
    pruned: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkStatus:
    """What is in a work folder.

    Attributes:
        stages: one line each, in order.
        writer: who writes in it, or died over it; None where nobody does.
        run: folder of the run that these lines are of, whether it is there already or not; None while its name is not
            known, since not all that training reads is up to date.
    """

    stages: tuple[StageStatus, ...]
    writer: Writer | None
    run: str | None = None


def status(graph: Graph, storage: Storage) -> WorkStatus:
    """What the receipts of all stages and the lock of a work folder say."""
    plan(graph)  # the run's folder gets its name by it
    listed = sum(shard is not None for shard in graph["index"].kept) if "index" in graph else 0
    stages = (line(node.name, node.kept.values(), listed if node.stage.shard_wise else 0) for node in graph.values())
    train = graph["train"]
    return WorkStatus(tuple(stages), writer(storage), storage.shown(train.folder) if train.placed else None)


def line(name: str, receipts: Collection[Receipt], expected: int = 0) -> StageStatus:
    """What these receipts of a stage add up to.

    Args:
        expected: shards that there will be, 0 where it is not known.
    """
    total = totals(receipts)
    shards = [receipt for receipt in receipts if receipt.shard is not None]
    under_way = under_way_s(shards) if expected else 0.0
    fetched = sum(receipt.facts.get("bytes", 0) for receipt in shards)
    return StageStatus(
        name=name,
        shards=total.shards or len(receipts),
        rows=total.rows,
        size_bytes=total.size_bytes,
        counts=dict(total.counts.most_common()),
        seconds=round(total.seconds, 1),
        images_per_s=round(total.rows / under_way, 1) if under_way else None,
        bytes_per_s=round(fetched / under_way) if under_way and fetched else None,
        left_s=round(under_way / total.shards * (expected - total.shards), 1)
        if under_way and expected > total.shards
        else None,
        pruned=total.pruned,
        notes=tuple(receipt.note for receipt in receipts if receipt.note),
    )


def under_way_s(receipts: Collection[Receipt]) -> float:
    """Seconds in which at least one of the tasks behind these receipts was under way."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted((receipt.started_at, receipt.started_at + receipt.seconds) for receipt in receipts):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
