"""What a run would do, and why, without doing any of it."""

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.engine.forecast import Disk, Forecast, by_device, expected_s, forecast, foreseen
from pipeline.engine.graph import Frontier, Graph, Node, PendingTask, reader_of
from pipeline.engine.ledger import library_versions
from schemas.command import Command
from schemas.errors import PipelineError, UsageError
from schemas.readable import size_text

_log = logging.getLogger("biam_pipe.plan")


@dataclass(frozen=True)
class StagePlan:
    """One line of a plan.

    Attributes:
        name: the verb.
        recipe: fingerprint of all settings that shape its output, its own and those of the stages before it.
        done: tasks that are up to date.
        to_run: tasks known to run; None while the index itself has to run first.
        reasons: why they run, the most frequent first.
        rows: rows in what is up to date.
        size_bytes: size of what is up to date.
        expected_s: seconds of work to expect, from what the same stage took before; None where nothing is known, and
            where nothing of it would run.
        again_rows: rows in files that were dropped after use and have to be made again.
        again_bytes: size of those files.
        notes: what else a user should know.
        other_versions: libraries whose version differs from the one that wrote what is up to date ("torch 2.11.0").
        shard_wise: whether it has a task for each shard, beside which there may be one without.
        facts: what is known of all that is to be worked on, where the stage decides which shards there are.
        forecast: what the tasks to run will leave on disk; None where there are none.
    """

    name: str
    recipe: str
    done: int
    to_run: int | None
    reasons: tuple[str, ...]
    rows: int
    size_bytes: int
    expected_s: float | None
    again_rows: int
    again_bytes: int
    other_versions: tuple[str, ...]
    notes: tuple[str, ...] = ()
    shard_wise: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    forecast: Forecast | None = None

    @property
    def up_to_date(self) -> bool:
        """Whether nothing of this stage would run."""
        return self.to_run == 0


def plan(graph: Graph) -> list[StagePlan]:
    """One line for each stage, in order. Marks what is up to date in the graph; writes nothing."""
    frontier = Frontier(graph)
    todo: dict[str, list[PendingTask]] = {name: [] for name in graph}
    ready = deque(frontier.start())
    while ready:
        node, task = ready.popleft()
        if (receipts := node.keeps(task)) is not None:
            ready.extend(frontier.done(node, receipts))
        else:
            todo[node.name].append(task)
    facts = foreseen(graph)
    return [_line(node, todo[node.name], graph, facts) for node in graph.values()]


def refuse_missing_input(stage: str, lines: Sequence[StagePlan], graph: Graph, dataset: str) -> None:
    """See that a stage can run alone.

    Raises:
        PipelineError: something before it is not up to date; the text names the command that makes it so.
    """
    line = next((line for line in lines if line.name != stage and not line.up_to_date), None)
    if line is None:
        return
    node = graph[line.name]
    if line.again_rows and (reader := reader_of(node, graph)) is not None:
        raise PipelineError(
            f"{stage} --only: files of {line.name} were dropped after use, and {reader.name} needs them again: "
            f"{line.again_rows} rows, {line.again_bytes / 1e6:,.1f} MB",
            run=Command(reader.name, dataset=dataset),
        )
    raise not_up_to_date(f"{stage} --only", node, dataset)


def require_shards(graph: Graph, stage: str, shards: range, dataset: str) -> None:
    """See that some shards of a stage, and of what it reads, can be made while others are made beside them.

    Raises:
        UsageError: a stage has no shards, or not so many.
        PipelineError: the stage that decides which shards there are is not up to date.
    """
    for node in graph.values():
        if not (node.stage.shard_wise or node.stage.decides_shards):
            raise UsageError(f"{stage} --shards: {node.name} has no shards here", hint="Run it without --shards")
        if node.stage.decides_shards:
            if not node.complete:
                raise not_up_to_date(f"{stage} --shards", node, dataset)
            if (there := sum(shard is not None for shard in node.valid)) <= shards.start:
                raise UsageError(
                    f"{stage} --shards: there are {there} shards, counted from 0;",
                    got=f"{shards.start}:{shards.stop}",
                    expected="at least one of them",
                )


def disks(plan: Sequence[StagePlan]) -> list[Disk]:
    """What a run takes of each file system that it writes to."""
    return by_device({line.name: line.forecast for line in plan if line.forecast is not None})


def require_room(plan: Sequence[StagePlan]) -> None:
    """Warn where a disk may not hold what a run will write.

    Raises:
        PipelineError: it cannot hold it.
    """
    for disk in disks(plan):
        if disk.verdict == "cannot fit":
            raise PipelineError(
                "the disk cannot hold what this run will write",
                found=f"{disk.free_text} free",
                expected=f"about {size_text(disk.added_bytes)}",
                hint=f"Use {disk.remedy}. See:",
                run=Command("plan"),
            )
        if disk.verdict in ("may not fit", "will not fit"):
            _log.warning(disk.text)


def not_up_to_date(reader: str, node: Node, dataset: str) -> PipelineError:
    """The error about a stage of which tasks are missing.

    Args:
        reader: who needs it complete.
    """
    return PipelineError(
        f"{reader}: {node.name} is not up to date",
        found=f"{len(node.valid)} tasks",
        expected="an index first" if node.expected is None else node.expected,
        run=Command(node.stage.command or node.name, dataset=dataset),
    )


def _line(node: Node, todo: Sequence[PendingTask], graph: Graph, facts: Mapping[str, Any]) -> StagePlan:
    receipts = list(node.valid.values())
    reasons = Counter(text for task in todo for text in node.why(task))
    dropped = [receipt for task in todo if (receipt := node.kept.get(task.shard)) and receipt.pruned]
    to_run = None if node.expected is None and not node.stage.decides_shards else (node.expected or 1) - len(receipts)
    if not reasons and to_run != 0:
        waits = [name for name in node.stage.upstream if not graph[name].complete]
        reasons.update([f"after {name}" for name in waits[-1:]])
    here = library_versions()
    other = {
        f"{name} {version}"
        for receipt in receipts
        for name, version in receipt.versions.items()
        if here.get(name, version) != version
    }
    return StagePlan(
        name=node.name,
        recipe=node.digest,
        done=len(receipts),
        to_run=to_run,
        reasons=tuple(text for text, _ in reasons.most_common()),
        rows=sum(receipt.rows for receipt in receipts),
        size_bytes=sum(receipt.size_bytes for receipt in receipts),
        expected_s=None if to_run == 0 else expected_s(node, graph),
        again_rows=sum(receipt.rows for receipt in dropped),
        again_bytes=sum(file.size_bytes for receipt in dropped for file in receipt.files if file.pruned),
        other_versions=tuple(sorted(other)),
        notes=(
            *node.stage.notes,
            *node.notes,
            *_place_notes(node, to_run),
            *(receipt.note for receipt in receipts if receipt.note),
        ),
        shard_wise=node.stage.shard_wise,
        facts=facts if node.stage.decides_shards else {},
        forecast=None if to_run == 0 else forecast(node, graph, facts),
    )


def _place_notes(node: Node, to_run: int | None) -> list[str]:
    """Where work will lie that leaves what is there as it is."""
    if node.stage.history is None or to_run == 0:
        return []
    if not node.placed:
        return ["its folder gets its name once all that it reads is up to date"]
    held = ", which holds a run: one over other data is refused there without --replace"
    return [f"in {node.folder}{held if node.may_be_refused() else ''}"]
