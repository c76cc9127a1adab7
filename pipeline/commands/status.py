"""What is in a work folder, from receipts: while a run is going on, after it, or after it died.

Of a run that goes on its log tells how far it is with what has no receipt yet.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.engine.events import UnderWay, under_way
from pipeline.engine.graph import Graph, Shard
from pipeline.files.lock import Writer, writer
from pipeline.files.slices import Slice, slices
from pipeline.files.storage import Storage
from schemas.receipts import Receipt, status_counts, totals, under_way_s
from schemas.status import FAILURES, ImageStatus


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
class Totals:
    """What all stages come to.

    Attributes:
        images: that the index lists.
        done: those with features.
        failed: those that failed, in the download or later; the others are still to come.
        size_bytes: of all files that are there.
        left_s: until all shards of all stages are done, if they go on as they went, side by side; None where nothing is
            left of them, or nothing known of a stage. What has no shards, such as training, is not in it.
        outdated: stages that a run with these settings would do some of, or all; None where nobody can tell.
    """

    images: int
    done: int
    failed: int
    size_bytes: int
    left_s: float | None
    outdated: tuple[str, ...] | None


@dataclass(frozen=True)
class WorkStatus:
    """What is in a work folder.

    Attributes:
        stages: one line each, in order.
        writer: who writes in it, or died over it; None where nobody does.
        run: folder of the run that these lines are of, whether it is there already or not; None while its name is not
            known, since not all that training reads is up to date.
        totals: None where there are no stages.
        unknown: why nobody can tell what is up to date; None where that is known.
        slices: who writes which shards beside each other, or died over them.
        under_way: how far the run is that goes on, a stage each.
    """

    stages: tuple[StageStatus, ...]
    writer: Writer | None
    run: str | None = None
    totals: Totals | None = None
    unknown: str | None = None
    slices: tuple[Slice, ...] = ()
    under_way: tuple[UnderWay, ...] = ()


def status(graph: Graph, storage: Storage, unknown: str | None = None) -> WorkStatus:
    """What the receipts of all stages and the lock of a work folder say.

    Args:
        graph: in which what is up to date is marked: by that the run's folder gets its name.
        unknown: why it is not marked.
    """
    listed = len(_shards(graph, "index"))
    shards = {node.name: listed if node.stage.shard_wise else 0 for node in graph.values()}
    stages = tuple(line(node.name, node.kept.values(), shards[node.name]) for node in graph.values())
    train = graph["train"]
    run = storage.shown(train.folder) if train.placed else None
    totals = _totals(graph, stages, shards)
    if unknown is not None:
        totals = replace(totals, outdated=None)
    who = writer(storage)
    told = under_way(storage, who.pid) if who is not None and who.alive is not False else ()
    return WorkStatus(stages, who, run, totals, unknown, tuple(slices(storage)), told)


def _totals(graph: Graph, stages: Sequence[StageStatus], expected: Mapping[str, int]) -> Totals:
    index = status_counts(_shards(graph, "index").values())
    fetched, computed = _shards(graph, "download"), _shards(graph, "extract")
    furthest = status_counts({**fetched, **computed}.values())
    unfinished = [stage for stage in stages if stage.shards < expected[stage.name]]
    left = [stage.left_s for stage in unfinished if stage.left_s is not None]
    return Totals(
        images=index.total() - index["removed"],
        done=status_counts(computed.values())[ImageStatus.OK],
        failed=sum(furthest[status] for status in FAILURES),
        size_bytes=sum(stage.size_bytes for stage in stages),
        left_s=max(left) if left and len(left) == len(unfinished) else None,
        outdated=tuple(node.name for node in graph.values() if not node.complete),
    )


def _shards(graph: Graph, stage: str) -> dict[Shard, Receipt]:
    """Of a stage; a dag of one's own may be without it."""
    kept = graph[stage].kept if stage in graph else {}
    return {shard: receipt for shard, receipt in kept.items() if shard is not None}


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
        images_per_s=_rounded(total.rows / under_way) if under_way else None,
        bytes_per_s=round(fetched / under_way) if under_way and fetched else None,
        left_s=round(under_way / total.shards * (expected - total.shards), 1)
        if under_way and expected > total.shards
        else None,
        pruned=total.pruned,
        notes=tuple(receipt.note for receipt in receipts if receipt.note),
    )


def _rounded(rate: float) -> float:
    """To a tenth; a rate below that to three digits, so that slow is told from nothing."""
    return round(rate, 1) if rate >= 10 else float(f"{rate:.3g}")
