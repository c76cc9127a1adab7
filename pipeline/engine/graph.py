"""Stages with their recipes worked out, and for each task: is it up to date, and if not, why."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pipeline.engine.beginning import Beginning, Seeker
from pipeline.engine.fingerprint import FP8, canonical, explain, fingerprint, recipe_document, task_fingerprint
from pipeline.engine.ledger import Ledger, Record, clear
from pipeline.engine.task import CHECKPOINT, Stage
from pipeline.files.inputs import Inputs, OutputFile, StageFiles
from pipeline.files.storage import Storage
from schemas.receipts import Receipt

Shard = int | None
_TASK8 = "{task8}"  # in a folder that is named once its task is known


@dataclass(frozen=True)
class PendingTask:
    """A task whose inputs are all there.

    Attributes:
        inputs: receipts by stage upstream.
        fingerprint: of the recipe and those inputs.
    """

    shard: Shard
    inputs: dict[str, tuple[Receipt, ...]]
    fingerprint: str


@dataclass
class Node:
    """A stage in one work folder.

    Attributes:
        outputs: the files that the stage leaves, with the digits of recipes in their paths.
        recipe: document of what shapes the output, and of what is read from outside (`outside`, not in the digest).
        digest: recipe fingerprint.
        earlier: the folder as it was named before; None where it was not.
        kept: receipts found on disk, up to date or not.
        lost: shards whose receipt the stage record knows and that is there no more: their files count for nothing.
        valid: receipts known to be up to date, by shard.
        made_of: recipe document of the stage record on disk.
        previous: recipe document of the last complete run, of whatever settings and in whatever folder.
        recorded: the stage record on disk is of these settings, and the pages of the stage are there and whole.
        sizes: size of each file on disk, by path.
        fingerprint: of the one task of a stage that is history; None while what it reads is not known.
        beginning: other work that this task begins with; None where there is none, or it is not known.
        replaces: whether other work in the folder of a stage that is history may go.
        expected: number of tasks, None while the index is not known.
        again: tasks to run although they are up to date, with the reason.
        redo: statuses of the rows of those tasks that are to be done again.
        notes: what a user should know of what is up to date, for `plan`.
        shards: those that a run is for, where it is not for all; the stage is then never complete.
    """

    stage: Stage
    ledger: Ledger
    outputs: dict[str, OutputFile]
    recipe: dict[str, Any]
    digest: str
    earlier: str | None = None
    kept: dict[Shard, Receipt] = field(default_factory=dict)
    made_of: dict[str, Any] | None = None
    previous: dict[str, Any] | None = None
    recorded: bool = False
    fingerprint: str | None = None
    beginning: Beginning | None = None
    replaces: bool = False
    lost: frozenset[Shard] = frozenset()
    valid: dict[Shard, Receipt] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    expected: int | None = None
    again: dict[Shard, str] = field(default_factory=dict)
    redo: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    shards: range | None = None

    @property
    def complete(self) -> bool:
        """Whether every task is up to date."""
        return self.shards is None and self.expected is not None and len(self.valid) == self.expected

    def takes(self, shard: Shard) -> bool:
        """Whether a run is for a task: one for some shards does nothing that belongs to none."""
        return self.shards is None or shard in self.shards

    @property
    def folder(self) -> str:
        """The stage's folder below the root."""
        return self.ledger.folder

    @property
    def pages(self) -> list[str]:
        """Paths of the pages about what the stage left."""
        return [f"{self.folder}/{page.file}" for page in self.stage.pages]

    @property
    def name(self) -> str:
        """The verb."""
        return self.stage.name

    @property
    def placed(self) -> bool:
        """Whether the name of its folder is known."""
        return _TASK8 not in self.folder

    def place(self, folder: str) -> None:
        """Take a folder, with what was left there."""
        before = self.folder
        self.ledger = replace(self.ledger, folder=folder)
        self.outputs = {
            name: replace(file, path=file.path.replace(before, folder)) for name, file in self.outputs.items()
        }
        self.look()

    def look(self) -> None:
        """Find out what was left in the stage's folder."""
        found = self.ledger.read_record()
        if found is not None and not all(_is_of(receipt, self.stage, self.outputs) for receipt in found.receipts):
            found = None  # of another place, from before records said which they are of
        read = self.ledger.read_receipts() if found is None else found.receipts
        receipts = {receipt.shard: receipt for receipt in read if _is_of(receipt, self.stage, self.outputs)}
        self.sizes = _sizes(self.ledger.storage, self.folder, receipts.values())
        self.lost = frozenset(shard for shard in receipts if self.ledger.receipt_path(shard) not in self.sizes)
        self.kept = {shard: receipt for shard, receipt in receipts.items() if shard not in self.lost}
        self.made_of = None if found is None else found.recipe
        self.previous = self.made_of or _latest_recipe(self.stage, self.ledger)
        stands = found is not None and not self.lost and _pages_stand(self.ledger.storage, self.pages, found)
        self.recorded = stands and self.made_of == self.recipe

    def holder(self) -> str | None:
        """Fingerprint of the task whose work, done or stopped, lies in the folder of a stage that is history."""
        assert self.stage.history is not None, "other work is made anew in its place"
        if (receipt := self.kept.get(None)) is not None:
            return receipt.fingerprint
        return self.stage.history.stopped(self.ledger.storage, self.outputs[CHECKPOINT].at(None))

    def require_free(self) -> None:
        """See that no other work lies where this stage would leave its own, as far as that is known by now.

        Raises:
            UsageError: other work that is history does.
        """
        if self.stage.history is None or self.replaces or not self._in_the_way():
            return
        if self.fingerprint is not None or self.made_of not in (None, self.recipe):
            storage, left = self.ledger.storage, {self.name: self.files(self.kept.values())}
            raise self.stage.history.refusal(Inputs(storage, self.name, left))

    def require_beginning(self) -> None:
        """See early that there is what the work begins with.

        Raises:
            UsageError: there is not.
        """
        if (seeker := self._seeker()) is not None:
            seeker.require()

    def seek_beginning(self, contents: Sequence[str]) -> list[str]:
        """The content of what the task begins with, as one more that it reads; nothing where it begins with nothing.

        Args:
            contents: of all else that it reads.

        Raises:
            UsageError: there is no such work.
        """
        if (seeker := self._seeker()) is None:
            return []
        outside = self.stage.outside
        self.beginning = seeker.seek(lambda content: task_fingerprint(self.digest, outside, [*contents, content]))
        return [self.beginning.content]

    def _seeker(self) -> Seeker | None:
        if self.stage.history is None or self.stage.history.start is None:
            return None
        recorded = partial(_recorded, self.stage, self.ledger)
        return Seeker(self.stage.history.start, self.recipe, self.ledger, self.outputs, recorded)

    def may_be_refused(self) -> bool:
        """Whether other work may lie in the place of this stage's own; what stages before it leave will tell."""
        unknown = self.stage.history is not None and self.placed and not self.replaces and self.fingerprint is None
        return unknown and self.holder() is not None

    def make_way(self) -> None:
        """Remove other work from the folder of a stage that is history, where it may go."""
        if self.stage.history is not None and self.replaces and self._in_the_way():
            clear(self.ledger.storage, self.folder)
            self.ledger.storage.remove(self.outputs[CHECKPOINT].at(None))

    def _in_the_way(self) -> bool:
        return self.holder() not in (None, self.fingerprint)

    def receipts(self) -> tuple[Receipt, ...]:
        """Receipts that are up to date: shards in order, then the part without shard."""
        return tuple(self.valid[key] for key in sorted(self.valid, key=_shard_order))

    def files(self, receipts: Iterable[Receipt]) -> StageFiles:
        """What these receipts name, for `Inputs`."""
        return StageFiles(self.folder, self.outputs, tuple(receipts), self.stage.command)

    def keeps(self, task: PendingTask) -> list[Receipt] | None:
        """Receipts from before that already hold what this task would make, or None."""
        receipt = self.kept.get(task.shard)
        if receipt is None or receipt.fingerprint != task.fingerprint or task.shard in self.again:
            return None
        every = self.stage.decides_shards
        receipts = list(self.kept.values()) if every else [receipt]
        if every and len(receipts) != receipt.facts["shards"] + 1:
            return None
        return receipts if all(self.on_disk(kept) for kept in receipts) else None

    def standing(self, task: PendingTask) -> list[Receipt]:
        """What this stage left before that the task may build on.

        That is all of it where the task decides which shards there are; else what the same work gave, where some of it
        has to be done again all the same.
        """
        if self.stage.decides_shards:
            return list(self.kept.values())
        receipt = self.kept.get(task.shard)
        if receipt is None or receipt.fingerprint != task.fingerprint or task.shard not in self.again:
            return []
        return [receipt]

    def on_disk(self, receipt: Receipt) -> bool:
        """Whether the files are there with the size the receipt says (their hashes are for `verify`)."""
        return all(file.pruned or self.sizes.get(file.path) == file.size_bytes for file in receipt.files)

    def why(self, task: PendingTask) -> list[str]:
        """Why this task has to run."""
        if self.previous is not None and (changes := explain(self.previous, self.recipe)):
            return changes
        receipt = self.kept.get(task.shard)
        if self.lost if self.stage.decides_shards else task.shard in self.lost:
            return ["receipt gone"]
        if receipt is None:
            if self.stage.history is not None and self.previous == self.recipe:
                return ["input changed"]  # since the run in another folder
            return ["new rows" if task.shard is not None and self.previous is not None else "missing"]
        if receipt.fingerprint != task.fingerprint:
            return ["input changed"]
        if task.shard in self.again:
            return [self.again[task.shard]]
        return ["file gone or of another size"]


Graph = dict[str, Node]


def inputs_of(graph: Graph, reader: str, receipts: Mapping[str, Iterable[Receipt]]) -> Inputs:
    """What stages of a graph left, for a command or a page.

    Args:
        reader: who reads, for error texts.
        receipts: by stage.
    """
    storage = next(iter(graph.values())).ledger.storage
    left = {name: graph[name].files(given) for name, given in receipts.items()}
    if reader in left and (beginning := graph[reader].beginning) is not None and beginning.files is not None:
        left[reader] = beginning.files
    return Inputs(storage, reader, left)


def reader_of(node: Node, graph: Graph) -> Node | None:
    """The stage that alone reads some of this one's files; None where there is none in the graph."""
    return next((reader for reader in graph.values() if node.name in reader.stage.consumes), None)


def root_of(node: Node, graph: Graph) -> Node:
    """The stage that decides which shards a shard-wise one has."""
    while not node.stage.decides_shards:
        node = graph[next(name for name, edge in node.stage.upstream.items() if edge == "shard")]
    return node


def resolve(stages: Sequence[Stage], storage: Storage) -> Graph:
    """Nodes by name, in order; nothing is known to be up to date yet."""
    graph: Graph = {}
    for stage in stages:
        assert graph.keys() >= stage.upstream.keys(), f"{stage.name} stands before a stage that it reads"
        for name in stage.consumes:  # else it might wait for a stage that waits for more shards than may be ahead of it
            assert stage.upstream.keys() - {name} <= graph[name].stage.upstream.keys(), f"{stage.name} reads too much"
        upstream = {name: graph[name].digest for name in stage.upstream}
        recipe = recipe_document(stage, upstream)
        digest = fingerprint(recipe)
        document = recipe | {"outside": json.loads(canonical(dict(stage.outside)))}
        digits = {f"{{{name}}}": node.digest[:FP8] for name, node in graph.items()}
        digits |= {f"{{{name}.folder}}": node.folder for name, node in graph.items()}
        digits[f"{{{stage.name}}}"] = digits["{fp8}"] = digest[:FP8]
        ledger = Ledger(storage, stage.name, _filled(stage.folder, digits), _filled(stage.record, digits))
        digits["{folder}"] = ledger.folder
        earlier = None if stage.history is None else stage.history.earlier
        graph[stage.name] = Node(
            stage=stage,
            ledger=ledger,
            outputs={name: replace(file, path=_filled(file.path, digits)) for name, file in stage.outputs.items()},
            recipe=document,
            digest=digest,
            earlier=None if earlier is None else _filled(earlier, digits),
            expected=None if stage.shard_wise or stage.decides_shards else 1,
        )
        graph[stage.name].look()
    return graph


def _is_of(receipt: Receipt, stage: Stage, outputs: Mapping[str, OutputFile]) -> bool:
    """Whether a receipt is of this stage, and names files where the stage leaves them."""
    whole = receipt.shard is None
    paths = {output.at(receipt.shard) for output in outputs.values() if output.sharded != whole}
    return receipt.stage == stage.name and all(file.path in paths for file in receipt.files)


def _filled(template: str, digits: Mapping[str, str]) -> str:
    for place, text in digits.items():
        template = template.replace(place, text)
    return template


def _pages_stand(storage: Storage, paths: Iterable[str], record: Record) -> bool:
    """Whether the pages about what a stage left are there as the record says; older records name none."""
    told = {page.path: page.sha256 for page in record.pages}
    return all(storage.exists(path) and told.get(path) in (None, storage.sha256(path)) for path in paths)


class Frontier:
    """Goes through a graph from receipt to receipt, and tells which tasks have all their inputs by now.

    Each task is offered once. Work is proportional to the tasks offered, not to the tasks there are.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._offered: dict[str, set[Shard]] = {name: set() for name in graph}

    def start(self) -> list[tuple[Node, PendingTask]]:
        """Tasks that need nothing."""
        first = [node for node in self.graph.values() if not node.stage.upstream]
        return [ready for node in first for ready in self._offer(node, [None])]

    def done(self, node: Node, receipts: Sequence[Receipt]) -> list[tuple[Node, PendingTask]]:
        """Take receipts that are up to date; give the tasks that only waited for them."""
        node.valid.update({receipt.shard: receipt for receipt in receipts})
        if node.stage.decides_shards:
            self._expect_shards(node)
        return list(self._waited_for(node, receipts))

    def _waited_for(self, node: Node, receipts: Sequence[Receipt]) -> Iterator[tuple[Node, PendingTask]]:
        for after in self.graph.values():
            edge = after.stage.upstream.get(node.name)
            if edge is None:
                continue
            if not after.stage.shard_wise:
                yield from self._offer(after, [None])
                continue
            shards = (
                [receipt.shard for receipt in receipts] if edge == "shard" else list(root_of(after, self.graph).valid)
            )
            yield from self._offer(after, [shard for shard in shards if shard is not None])
            if after.stage.leaves_whole:
                yield from self._offer(after, [None])

    def _expect_shards(self, root: Node) -> None:
        root.expected = len(root.valid)
        shards = [shard for shard in root.valid if shard is not None]
        for node in self.graph.values():
            if node.stage.shard_wise and root_of(node, self.graph) is root:
                whole = node.stage.leaves_whole and node.takes(None)
                node.expected = sum(map(node.takes, shards)) + whole

    def _offer(self, node: Node, shards: Sequence[Shard]) -> Iterator[tuple[Node, PendingTask]]:
        for shard in shards:
            if shard in self._offered[node.name] or not node.takes(shard):
                continue
            if (task := _pending(node, shard, self.graph)) is None:
                continue
            self._offered[node.name].add(shard)
            self._place(node, task)
            self._recall(node, task)
            yield node, task

    def _place(self, node: Node, task: PendingTask) -> None:
        """Give a stage that is history, and those that share its folder, the folder of its task."""
        if node.stage.history is None:
            return
        node.fingerprint, open_name = task.fingerprint, node.folder
        if node.placed:
            return
        if node.earlier is not None:
            node.place(node.earlier)
        if node.earlier is None or node.holder() != task.fingerprint:
            node.place(open_name.replace(_TASK8, task.fingerprint[:FP8]))
        for other in self.graph.values():
            if other.folder == open_name:
                other.place(node.folder)

    def _recall(self, node: Node, task: PendingTask) -> None:
        """Mark a task to run again where files of it were dropped and the stage that reads them has to run again."""
        receipt, reader = node.kept.get(task.shard), reader_of(node, self.graph)
        if receipt is None or not receipt.pruned or reader is None:
            return
        wanted = _pending(reader, task.shard, self.graph, {node.name: receipt})
        assert wanted is not None, f"{reader.name} waits for more than {node.name} does"
        if reader.keeps(wanted) is None:
            node.again.setdefault(task.shard, f"dropped after use, and {reader.name} needs it again")


def _pending(
    node: Node, shard: Shard, graph: Graph, assumed: Mapping[str, Receipt] | None = None
) -> PendingTask | None:
    """The task of a shard; None while an input is missing.

    Args:
        assumed: taken as the receipt of that shard, by stage, whether it is known to be up to date or not.
    """
    inputs = _inputs(node, shard, graph, assumed or {})
    if inputs is None:
        return None
    contents = [
        receipt.parts.get(node.stage.reads.get(name, ""), receipt.content)
        for name, receipts in inputs.items()
        for receipt in receipts
    ]
    contents += node.seek_beginning(contents)
    return PendingTask(shard, inputs, task_fingerprint(node.digest, node.stage.outside, contents))


def _inputs(
    node: Node, shard: Shard, graph: Graph, assumed: Mapping[str, Receipt]
) -> dict[str, tuple[Receipt, ...]] | None:
    # First of all, since it is asked after each task upstream: putting all receipts in order would cost n x n.
    if not all(graph[name].complete for name, edge in node.stage.upstream.items() if edge == "all"):
        return None
    inputs: dict[str, tuple[Receipt, ...]] = {}
    for name, edge in node.stage.upstream.items():
        before = graph[name]
        if name in assumed:
            inputs[name] = (assumed[name],)
        elif edge == "all":
            inputs[name] = before.receipts()
        elif edge == "whole" or shard is None:
            if before.stage.leaves_whole or not before.stage.shard_wise:
                if None not in before.valid:
                    return None
                inputs[name] = (before.valid[None],)
            else:
                inputs[name] = ()
        elif shard in before.valid:
            inputs[name] = (before.valid[shard],)
        else:
            return None
    return inputs


def _shard_order(shard: Shard) -> tuple[bool, int]:
    return shard is None, shard or 0


def _sizes(storage: Storage, own: str, receipts: Iterable[Receipt]) -> dict[str, int]:
    """Size of each file in the folders of these receipts and of their files, by path."""
    folders = {own, *(file.path.rpartition("/")[0] for receipt in receipts for file in receipt.files)}
    return {
        f"{folder}/{name}" if folder else name: size
        for folder in folders
        for name, size in storage.sizes(folder).items()
    }


def _latest_recipe(stage: Stage, ledger: Ledger) -> dict[str, Any] | None:
    """Recipe of the newest record of this stage under other settings, to tell what changed."""
    newest = next(_recorded(stage, ledger), None)
    found = newest.read_record() if newest else None
    return found.recipe if found else None


def latest_of_recipe(node: Node) -> str | None:
    """The folder in which a stage was last completed with the same settings, over whatever data; None for nowhere."""
    for ledger in _recorded(node.stage, node.ledger):
        found = ledger.read_record()
        if found is not None and found.recipe == node.recipe:
            return ledger.folder
    return None


def _recorded(stage: Stage, ledger: Ledger) -> Iterator[Ledger]:
    """Where records of a stage lie, of whatever settings, the newest first."""
    first, *rest = ledger.folder.split("/")
    pattern = "/".join([first, *("*" for _ in rest), re.sub(r".*\}", "*", f"{stage.record}.parquet")])
    for path in ledger.storage.by_age(pattern):
        folder, _, name = path.rpartition("/")
        yield replace(ledger, folder=folder, record=name.removesuffix(".parquet"))
