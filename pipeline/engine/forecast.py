"""What the tasks to run will take, of disk and of time: by what shards took before, else by what the stage foresees.

The task without shard, which a stage may have beside its shards, says nothing of them and is never counted in.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.graph import Graph, Node, reader_of, root_of
from pipeline.engine.task import Estimate
from schemas.readable import listed, size_text
from schemas.receipts import Receipt, under_way_s

Basis = Literal[
    "earlier shards", "settings", "at most", "small", "unknown until the index", "unknown until the first shard"
]
Verdict = Literal["fits", "unknown", "may not fit", "will not fit", "cannot fit"]

_SURELY = 0.5  # of what is expected: images that fail leave nothing, and others may be compressed better


@dataclass(frozen=True)
class Forecast:
    """What the tasks to run will leave on disk.

    Attributes:
        rows: that they are about; None where that is not known, and for a stage that has no shards.
        size_bytes: of the files with these rows; None where that is not known, or small.
        basis: what the size was told by: `earlier shards`, or what the stage says of its `settings`; or it is the most
            that it can be (`at most`); or why there is none.
        replaced_bytes: of files that stand, and that are written anew.
        device: number of the file system that they go to.
        free_bytes: on that; None where it does not say.
        savings: settings that make it less, in words.
    """

    rows: int | None
    size_bytes: int | None
    basis: Basis
    replaced_bytes: int
    device: int
    free_bytes: int | None
    savings: tuple[str, ...] = ()

    @property
    def added_bytes(self) -> int:
        """By which the files grow, as far as that is known."""
        return max((self.size_bytes or 0) - self.replaced_bytes, 0)


@dataclass(frozen=True)
class Disk:
    """What a run will take of a file system.

    Attributes:
        device: its number.
        free_bytes: now; None where it does not say.
        added_bytes: by which files there grow, as far as that is known; at most where `at_most` says so.
        at_most: whether it may be less.
        unknown: stages of which it is not known yet.
        verdict: whether that fits: it `cannot` where not even half of what is expected does.
        savings: settings that make it less, in words.
    """

    device: int
    free_bytes: int | None
    added_bytes: int
    at_most: bool
    unknown: tuple[str, ...]
    verdict: Verdict
    savings: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it in words, with what to do where it does not fit."""
        text = f"to write: {'at most ' if self.at_most else ''}{size_text(self.added_bytes)}"
        if self.unknown:
            text += f", and what {listed(self.unknown)} will leave"
        text += f"; free: {self.free_text}"
        return text if self.verdict in ("fits", "unknown") else f"{text}. That {self.verdict}. Use {self.remedy}"

    @property
    def free_text(self) -> str:
        """What is free, in words."""
        return "unknown" if self.free_bytes is None else size_text(self.free_bytes)

    @property
    def remedy(self) -> str:
        """What makes it fit, in words."""
        return ", or ".join(filter(None, (", ".join(self.savings), "another --work")))


def foreseen(graph: Graph) -> dict[str, Any]:
    """What is known of all that the graph works on, from the stage that decides which shards there are."""
    root = next((node for node in graph.values() if node.stage.decides_shards), None)
    return {} if root is None else dict(_estimate(root, {}).facts)


def forecast(node: Node, graph: Graph, facts: Mapping[str, Any]) -> Forecast:
    """What the tasks of a stage that is not up to date will leave. For a graph in which what is up to date is known."""
    estimate, reader = _estimate(node, facts), reader_of(node, graph)
    rows = _rows(node, graph)
    size_bytes, basis = _size(node, graph, rows, estimate)
    place = node.outputs[reader.stage.consumes[node.name]].at(0) if reader else f"{node.folder}/"
    system = node.ledger.storage.file_system(place)
    return Forecast(
        rows=rows,
        size_bytes=size_bytes,
        basis=basis,
        replaced_bytes=_replaced_bytes(node, graph),
        device=system.device,
        free_bytes=system.free_bytes,
        savings=estimate.savings,
    )


def expected_s(node: Node, graph: Graph) -> float | None:
    """Seconds for the tasks to run, from what the same stage took before; None where nothing is known.

    Of shards it is the time in which some of them are under way, in proportion to their rows.
    """
    if not node.stage.shard_wise:
        seconds = [receipt.seconds for receipt in node.kept.values()]
        return round(sum(seconds), 1) if seconds else None
    shards, rows = _shards(node.kept.values()), _rows(node, graph)
    done = sum(receipt.rows for receipt in shards)
    return round(under_way_s(shards) / done * rows, 1) if done and rows is not None else None


def by_device(forecasts: Mapping[str, Forecast]) -> list[Disk]:
    """What a run will take of each file system to which it writes more than a little, in the order of its stages.

    Args:
        forecasts: by stage.
    """
    large = {name: told for name, told in forecasts.items() if told.basis != "small"}
    devices = dict.fromkeys(told.device for told in large.values())
    return [_disk({name: told for name, told in large.items() if told.device == device}) for device in devices]


def _disk(forecasts: Mapping[str, Forecast]) -> Disk:
    told = list(forecasts.values())
    free = told[0].free_bytes
    added = sum(each.added_bytes for each in told)
    expected = sum(each.added_bytes for each in told if each.basis != "at most")
    unknown = tuple(name for name, each in forecasts.items() if each.basis.startswith("unknown"))
    verdict: Verdict = "unknown" if unknown or free is None else "fits"
    if free is not None and added > free:
        verdict = "may not fit"
    if free is not None and expected > free:
        verdict = "cannot fit" if _SURELY * expected > free else "will not fit"
    return Disk(
        device=told[0].device,
        free_bytes=free,
        added_bytes=added,
        at_most=any(each.basis == "at most" for each in told),
        unknown=unknown,
        verdict=verdict,
        savings=tuple(dict.fromkeys(words for each in told for words in each.savings)),
    )


def _estimate(node: Node, facts: Mapping[str, Any]) -> Estimate:
    return Estimate() if node.stage.estimate is None else node.stage.estimate(facts)


def _size(node: Node, graph: Graph, rows: int | None, estimate: Estimate) -> tuple[int | None, Basis]:
    """Bytes of these rows, and how they are known."""
    measured = _row_bytes(node, graph)
    if node.stage.estimate is None and measured is None:
        return None, "small"
    if rows is None:
        return None, "unknown until the index"
    if measured is not None:
        return round(measured * rows), "earlier shards"
    if estimate.row_bytes is None:
        return None, "unknown until the first shard"
    return estimate.row_bytes * rows, "at most" if estimate.at_most else "settings"


def _row_bytes(node: Node, graph: Graph) -> float | None:
    """What a row of the shards that were made before takes, less what is dropped after use."""
    reader = reader_of(node, graph)
    dropped = node.outputs[reader.stage.consumes[node.name]] if reader and reader.stage.prunes else None
    shards = _shards(node.kept.values())
    rows = sum(receipt.rows for receipt in shards)
    kept = (
        file.size_bytes
        for receipt in shards
        for file in receipt.files
        if dropped is None or file.path != dropped.at(receipt.shard)
    )
    return sum(kept) / rows if rows else None


def _rows(node: Node, graph: Graph) -> int | None:
    """Rows of the tasks to run; None where they are not known, or where there are no shards."""
    if not (node.stage.shard_wise or node.stage.decides_shards):
        return None
    if node.expected is not None:
        shards = root_of(node, graph).valid
        return sum(shards[shard].rows for shard in shards.keys() - node.valid.keys() if shard is not None)
    rows = _estimate(root_of(node, graph), {}).rows
    if rows is None or _made_anew(node):
        return rows
    return max(rows - sum(receipt.rows for receipt in _shards(node.kept.values())), 0)


def _replaced_bytes(node: Node, graph: Graph) -> int:
    """Size of the files that stand where the tasks to run will write."""
    if not node.stage.shard_wise or node.expected is None:
        shards = node.kept.keys() if _made_anew(node) else set()
    else:
        shards = node.kept.keys() - node.valid.keys()
    files = (file for shard in shards for file in node.kept[shard].files if not file.pruned)
    return sum(node.sizes.get(file.path, 0) for file in files)


def _made_anew(node: Node) -> bool:
    """Whether other settings than before make all of it again. For where it is not known which shards there will be."""
    if node.previous is None:
        return False
    before = {key: value for key, value in node.previous.items() if key != "outside"}
    return fingerprint(before) != node.digest


def _shards(receipts: Collection[Receipt]) -> list[Receipt]:
    return [receipt for receipt in receipts if receipt.shard is not None]
