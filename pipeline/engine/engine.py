"""Runs what is not up to date, shard by shard, each task as soon as its inputs are there.

Submission is bounded: for each place only a few tasks are under way, so that a run over nine thousand shards holds a
handful of tasks at any time. Where files are dropped once they have been read, the stage that writes them is held back
as well, so that a run holds a handful of them. What comes back is a receipt, never data. It is read from the work
folder, since what comes over a network may never arrive, and the files that it names are looked for there.
"""

import concurrent.futures
import heapq
import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain

from pipeline.engine.cluster.pool import Pool, StrandedError, WorkerDiedError
from pipeline.engine.cluster.probe import Expected, expected
from pipeline.engine.graph import Frontier, Graph, Node, PendingTask, Shard, inputs_of, reader_of
from pipeline.engine.own_process import OwnProcesses
from pipeline.engine.progress import ProgressView
from pipeline.engine.pruning import drop
from pipeline.engine.task import Service, Task
from pipeline.engine.work import Job, Told, shards_of
from pipeline.files.inputs import shard_name
from pipeline.files.storage import Storage
from pipeline.machine import stopping
from pipeline.machine.loopback import loopback_of
from schemas.command import AGAIN
from schemas.config import EngineConfig
from schemas.errors import IntegrityError, PipelineError, TimeBudgetError
from schemas.receipts import Receipt

_POLL_S = 0.2
_UNSEEN_S = 60.0  # in which what a worker wrote has to be seen here: network disks remember for 30 s what was not there
_SAVE_S = 6.0  # of the 10 s that an interruption may take

_log = logging.getLogger("biam_pipe.engine")


@dataclass
class Outcome:
    """A task that ended.

    Attributes:
        result: gives its receipts, or None where they lie in the work folder; raises what the task raised.
        since: when it ended (`time.monotonic()`).
    """

    node: Node
    task: PendingTask
    result: Callable[[], list[Receipt] | None]
    since: float = field(default_factory=time.monotonic)


@dataclass
class Engine:
    """One run over a graph.

    Attributes:
        scheduler: address of a user's Dask cluster; None for the embedded one.
        deadline: `time.time()` at which to stop; None for never.
        processes: for tasks that want one of their own; several runs may share them.
        end: called when the run ends before its work does: what is still under way then commits nothing.
        outside: files and folders that the settings name: workers have to see them.
        ran: tasks that ran, by stage.
    """

    graph: Graph
    storage: Storage
    settings: EngineConfig
    progress: ProgressView
    scheduler: str | None = None
    deadline: float | None = None
    processes: OwnProcesses = field(default_factory=OwnProcesses)
    end: Callable[[], None] = lambda: None
    outside: tuple[str, ...] = ()
    ran: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._frontier = Frontier(self.graph)
        self._waiting: dict[str, list[tuple[int, PendingTask]]] = {name: [] for name in self.graph}  # heaps, by stage
        self._under_way: Counter[str] = Counter()  # by stage
        self._ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._unseen: list[Outcome] = []  # they say that they are done, and their files are not seen here yet
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._bases: dict[Service, Mapping[str, str]] = {}
        self._isolated: set[tuple[str, Shard]] = set()  # tasks whose worker died once
        self._alone: set[str] = set()  # resources in which one of them is under way
        places = {node.stage.place for node in self.graph.values()}
        self._pool = Pool(self.scheduler, self.settings, places, self._told.put, self.storage.shown(), self._expected)

    def run(self) -> None:
        """Bring every stage of the graph up to date.

        Raises:
            PipelineError: the first error of a task, an interruption, or the end of the time budget. What was
                committed until then stays.
        """
        with ExitStack() as self._stack, self._pool, self._ending():
            self._refuse_missing_gpu()
            self._absorb(self._frontier.start())
            while True:
                self._heed_signals()
                if (problem := self._pool.problem()) is not None:
                    raise problem
                stop = stopping.reason(self.deadline if self.ran else None)
                if stop is None:
                    self._submit()
                if not self._under_way.total():
                    if any(self._waiting.values()):
                        assert stop is not None, "tasks wait, and nothing that they wait for is under way"
                        raise stop
                    # A worker may have died over a file; a run with nothing to do, or beside others, sweeps nothing.
                    if self._isolated and all(node.shards is None for node in self.graph.values()):
                        self.storage.sweep()
                    return
                self._collect()

    def require_workers(self) -> None:
        """See that a user's cluster is there, and has workers that are fit for this run; those that are not are logged.

        Raises:
            PipelineError: it is not, or has not.
        """
        with ExitStack() as self._stack, self._pool:
            self._pool.open()
            self._refuse_missing_gpu()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Before workers and services go, see that nothing is committed any more by what still goes on."""
        try:
            yield
        except BaseException:
            self.end()
            raise

    def _expected(self) -> Expected:
        """What workers of a user's cluster have to see and to be, with what this machine serves for the run."""
        bases = [self._service(node) for node in self.graph.values() if not node.recorded]
        loopback = loopback_of(set(chain.from_iterable(base.values() for base in bases)))
        modules = {name for node in self.graph.values() for name in _modules(node)}
        return expected(modules, self.storage.lease(), self.outside, loopback)

    def _absorb(self, ready: Iterable[tuple[Node, PendingTask]]) -> None:
        """Sort tasks into those that are up to date and those that wait for a place."""
        todo = deque(ready)
        while todo:
            self._heed_signals()
            node, task = todo.popleft()
            if (receipts := node.keeps(task)) is not None:
                todo.extend(self._settle(node, receipts))
            else:
                node.require_free()
                self._put_in_line(node, task)

    def _put_in_line(self, node: Node, task: PendingTask) -> None:
        heapq.heappush(self._waiting[node.name], (-1 if task.shard is None else task.shard, task))

    def _settle(self, node: Node, receipts: list[Receipt]) -> list[tuple[Node, PendingTask]]:
        """Take receipts that are up to date; drop what nobody needs any more; write stage records that are whole."""
        consumed = [self.graph[name] for name in node.stage.consumes]
        for before in consumed:
            for receipt in receipts:
                drop(before, node, receipt.shard)
        ready = self._frontier.done(node, receipts)
        self.progress.update(node.name, len(node.valid), node.expected)
        for changed in (*consumed, node):
            self._record(changed)
        if node.complete:
            self._pool.keep({other.stage.place for other in self.graph.values() if not other.complete})
        return ready

    def _record(self, node: Node) -> None:
        """Write the stage record, when all receipts are there and none of them is about to change."""
        reader = self._pruner(node)
        if node.complete and not node.recorded and (reader is None or reader.complete):
            write_record(node)

    def _pruner(self, node: Node) -> Node | None:
        """The stage after which files of this one are dropped."""
        reader = reader_of(node, self.graph)
        return reader if reader is not None and reader.stage.prunes else None

    def _refuse_missing_gpu(self) -> None:
        """Say before the first task what the last would wait for in vain."""
        for node in self.graph.values():
            if node.stage.place == "gpu" and not node.recorded:
                self._resource(node)

    def _resource(self, node: Node) -> str:
        return "process" if node.stage.place == "process" else self._pool.resource(node.stage.place)

    def _submit(self) -> None:
        """Start what there is room for: lower shards first, and of a shard the earlier stage."""
        while lines := [node for node in self.graph.values() if self._waiting[node.name] and self._has_room(node)]:
            node = min(lines, key=lambda node: self._waiting[node.name][0][0])
            _, task = heapq.heappop(self._waiting[node.name])
            self._under_way[node.name] += 1
            self._start(node, task)

    def _has_room(self, node: Node) -> bool:
        """Whether a task of this stage may start.

        Where its files are dropped after use, as many shards may wait for that as may be under way, written and read,
        at once: with fewer, workers would idle.
        """
        resource, reader = self._resource(node), self._pruner(node)
        if self._busy(resource) >= self._bound(resource) or self._keeps_apart(node, resource):
            return False
        if reader is None:
            return True
        read = len(reader.valid) - (None in reader.valid)
        unread = self._under_way[node.name] + len(node.valid) - read
        return unread < self._bound(resource) + self._bound(self._resource(reader))

    def _keeps_apart(self, node: Node, resource: str) -> bool:
        """Whether a task whose worker died once would meet another: it runs alone, to know who died of whom."""
        _, task = self._waiting[node.name][0]
        return resource in self._alone or ((node.name, task.shard) in self._isolated and self._busy(resource) > 0)

    def _busy(self, resource: str) -> int:
        return sum(
            count for name, count in self._under_way.items() if count and self._resource(self.graph[name]) == resource
        )

    def _bound(self, resource: str) -> int:
        return 1 if resource == "process" else self._pool.bound(resource)

    def _start(self, node: Node, task: PendingTask) -> None:
        node.make_way()
        node.ledger.forget_record()
        node.recorded = False
        self.ran[node.name] = self.ran.get(node.name, 0) + 1
        self.progress.update(node.name, len(node.valid), node.expected)
        self.progress.began(node.name, task.shard, images=node.stage.shard_wise)
        if (node.name, task.shard) in self._isolated:
            self._alone.add(self._resource(node))
        job = Job(node.stage.run, self._task(node, task), node.ledger.record, node.stage.preload)
        if node.stage.place == "process":
            self.processes.start(job, self._told.put)
            arguments = (node, task, self.processes.result)
            threading.Thread(target=self._deliver, args=arguments, daemon=True).start()
            return
        ended, name = self._ended, _named(node, task)
        self._pool.submit(self._resource(node), name, job, lambda result: ended.put(Outcome(node, task, result)))

    def _task(self, node: Node, task: PendingTask) -> Task:
        return Task(
            stage=node.name,
            shard=task.shard,
            storage=self.storage,
            folder=node.folder,
            recipe=node.digest,
            fingerprint=task.fingerprint,
            settings=node.stage.settings,
            inputs=inputs_of(self.graph, node.name, {**task.inputs, node.name: node.standing(task)}),
            outputs=node.outputs,
            bases=self._service(node),
            deadline=self._deadline(node),
            sharers=1 if node.stage.place == "process" else self._pool.sharers(self._resource(node)),
            redo=node.redo,
            isolated=(node.name, task.shard) in self._isolated,
        )

    def _deadline(self, node: Node) -> float | None:
        """When a task has to stop. The first of a run may end, so that with any budget enough runs get all done.

        A stage that goes on where it stopped sees to that itself.
        """
        first = sum(self.ran.values()) == 1
        return None if first and not node.stage.resumes else self.deadline

    def _service(self, node: Node) -> Mapping[str, str]:
        """Base addresses for a stage; what serves them stays up until the run ends."""
        service = node.stage.service
        if service is None:
            return {}
        if service not in self._bases:
            self._bases[service] = self._stack.enter_context(service())
        return self._bases[service]

    def _collect(self) -> None:
        """Wait a moment for tasks that ended, and take them in."""
        try:
            outcome = self._ended.get(timeout=_POLL_S)
        except queue.Empty:
            late, self._unseen = self._unseen, []
            for outcome in late:
                self._take(outcome)
            return
        finally:
            self._show_told()
        self._take(outcome)

    def _take(self, outcome: Outcome) -> None:
        """Take in what a task came to, or put it aside while its files are not seen here."""
        try:
            receipts = outcome.result()
            if receipts is None and (receipts := self._written(outcome)) is None:
                self._unseen.append(outcome)
                return
        except (TimeBudgetError, StrandedError):  # for the next run, or another worker; what else is under way may end
            self._leave(outcome)
            self._put_in_line(outcome.node, outcome.task)
            return
        except PipelineError as error:
            if (stop := stopping.reason(None)) is not None:  # the signal has reached its worker first
                raise stop from error
            self._leave(outcome)
            if not isinstance(error, WorkerDiedError) or not self._once_more(outcome.node, outcome.task):
                raise
            _log.warning("%s; trying once more, its images in processes of their own", str(error).partition(". ")[0])
            return
        self._leave(outcome)
        self.progress.ended(outcome.node.name, receipts)
        self._absorb(self._settle(outcome.node, receipts))

    def _leave(self, outcome: Outcome) -> None:
        self._under_way[outcome.node.name] -= 1
        self._alone.discard(self._resource(outcome.node))

    def _written(self, outcome: Outcome) -> list[Receipt] | None:
        """The receipts that a task left, if they and the files that they name are seen here.

        Raises:
            IntegrityError: they are not, though the task ended a while ago.
        """
        node, task = outcome.node, outcome.task
        last = node.ledger.read(task.shard)  # written last of all
        if last is not None and last.fingerprint == task.fingerprint:
            shards = [node.ledger.read(shard) for shard in shards_of(last)] if node.stage.decides_shards else []
            receipts = [receipt for receipt in (*shards, last) if receipt is not None]
            if None not in shards and all(self.storage.holds(file) for one in receipts for file in one.files):
                return receipts
        if time.monotonic() - outcome.since < _UNSEEN_S:
            return None
        raise IntegrityError(
            f"{_named(node, task)}: a worker says that it is done, and there are no such files in "
            f"{self.storage.shown(node.folder)}",
            hint="Do all workers write to the same disk as this host? Then run the same command again:",
            run=AGAIN,
        )

    def _once_more(self, node: Node, task: PendingTask) -> bool:
        """Put a task whose worker died in line again; False where it has had its second attempt."""
        key = (node.name, task.shard)
        if key in self._isolated:
            return False
        self._isolated.add(key)
        self._put_in_line(node, task)
        return True

    def _deliver(self, node: Node, task: PendingTask, result: Callable[[], list[Receipt]]) -> None:
        """Wait for what a task came to. Not in the main thread, which stays free to stop the run.

        A result can take for ever: Dask lets it wait for workers that do not come back.
        """
        ended: concurrent.futures.Future[list[Receipt]] = concurrent.futures.Future()
        try:
            ended.set_result(result())
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            ended.set_exception(error)
        self._ended.put(Outcome(node, task, ended.result))

    def _heed_signals(self) -> None:
        """Stop where that was asked for. A process of its own may save first; it is ended when it takes too long.

        Raises:
            InterruptedRunError: it was.
        """
        if (stop := stopping.reason(None)) is None:
            return
        if self._busy("process"):
            self.processes.stop()
            try:
                self._ended.get(timeout=_SAVE_S)
            except queue.Empty:
                self.processes.kill()
        raise stop

    def _show_told(self) -> None:
        """Show what tasks told meanwhile. Here, so that no thread of Dask's waits for a terminal.

        A task that ended told its last before its receipts came, so nothing is shown after its end.
        """
        while not self._told.empty():
            self.progress.tell(*self._told.get())


def _named(node: Node, task: PendingTask) -> str:
    return node.name if task.shard is None else f"{node.name} {shard_name(task.shard)}"


def _modules(node: Node) -> tuple[str, str]:
    """Where the code of a stage's tasks lies, and that of its settings."""
    return node.stage.run.__module__, type(node.stage.settings).__module__


def write_record(node: Node) -> None:
    """Write the record of a stage that is complete, and before it the pages about what it left, where it has some."""
    receipts = node.receipts()
    left = inputs_of({node.name: node}, node.name, {node.name: receipts})
    for page, path in zip(node.stage.pages, node.pages, strict=True):
        node.ledger.storage.write(path, page.text(left).encode())
    node.ledger.write_record(node.recipe, receipts, node.pages)
    node.recorded = True
