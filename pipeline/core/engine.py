"""Runs what is not up to date, shard by shard, each piece as soon as its inputs are there.

Submission is bounded: for each place only a few pieces are under way, so that a run over nine thousand shards holds a
handful of tasks at any time. What comes back is a receipt, never data.
"""

import heapq
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pipeline.core import cluster, stopping
from pipeline.core.graph import Graph, Node, Piece, Walk
from pipeline.core.progress import ProgressView
from pipeline.core.storage import Storage
from pipeline.core.task import Service, Task
from pipeline.core.work import Job, OwnProcess, Progress
from schemas.config import EngineConfig
from schemas.errors import InterruptedRunError, PipelineError
from schemas.receipts import Receipt

if TYPE_CHECKING:
    from distributed import Client, Future

_QUEUED_PER_SLOT = 2  # one runs, one waits, so that no worker idles between two pieces
_POLL_S = 0.2
_SAVE_S = 6.0  # of the 10 s that an interruption may take
_INTERRUPTED = InterruptedRunError.exit_code


@dataclass
class Outcome:
    """A piece that ended."""

    node: Node
    piece: Piece
    result: Callable[[], list[Receipt]]


@dataclass
class Engine:
    """One run over a graph.

    Attributes:
        scheduler: address of a user's Dask cluster; None for the embedded one.
        deadline: `time.time()` at which to stop; None for never.
        ran: pieces that ran, by stage.
    """

    graph: Graph
    storage: Storage
    settings: EngineConfig
    progress: ProgressView
    scheduler: str | None = None
    deadline: float | None = None
    ran: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._walk = Walk(self.graph)
        self._order = {name: position for position, name in enumerate(self.graph)}
        self._waiting: dict[str, list[tuple[int, int, Node, Piece]]] = {}
        self._under_way: dict[str, int] = {}
        self._ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._process: OwnProcess | None = None
        self._bases: dict[Service, Mapping[str, str]] = {}
        self._client: Client | None = None
        self._offered: set[str] = set()

    def run(self) -> None:
        """Bring every stage of the graph up to date.

        Raises:
            PipelineError: the first error of a piece, an interruption, or the end of the time budget. What was
                committed until then stays.
        """
        with ExitStack() as stack:
            self._stack = stack
            self._absorb(self._walk.start())
            while True:
                stop = stopping.reason(self.deadline)
                if stop is None:
                    self._submit()
                elif stop.exit_code == _INTERRUPTED:
                    self._end_process()
                    raise stop
                if not any(self._under_way.values()):
                    if stop is not None and any(self._waiting.values()):
                        raise stop
                    return
                self._collect()

    def _absorb(self, ready: Iterable[tuple[Node, Piece]]) -> None:
        """Sort pieces into those that are up to date and those that wait for a place."""
        todo = deque(ready)
        while todo:
            node, piece = todo.popleft()
            if (receipts := node.keeps(piece)) is not None:
                todo.extend(self._settle(node, receipts))
            else:
                entry = (-1 if piece.shard is None else piece.shard, self._order[node.name], node, piece)
                heapq.heappush(self._waiting.setdefault(node.stage.place, []), entry)

    def _settle(self, node: Node, receipts: list[Receipt]) -> list[tuple[Node, Piece]]:
        """Take receipts that are up to date; write the stage record when they are the last ones."""
        ready = self._walk.done(node, receipts)
        self.progress.update(node.name, len(node.valid), node.expected)
        if node.complete and not node.recorded:
            node.ledger.write_record(node.recipe, node.receipts())
            node.recorded = True
        return ready

    def _submit(self) -> None:
        for place, waiting in self._waiting.items():
            while waiting and self._under_way.get(place, 0) < self._slots(place):
                _, _, node, piece = heapq.heappop(waiting)
                self._under_way[place] = self._under_way.get(place, 0) + 1
                self._start(node, piece)

    def _slots(self, place: str) -> int:
        if place == "process":
            return 1
        if self.scheduler is not None:
            assert self._client is not None or not self._under_way.get(place)
            threads = sum(self._client.nthreads().values()) if self._client else 1
            return _QUEUED_PER_SLOT * threads
        workers = {
            "network": self.settings.network_workers,
            "compute": self.settings.compute_workers,
            "device": len(cluster.visible_gpus()),
        }
        return _QUEUED_PER_SLOT * workers[place]

    def _start(self, node: Node, piece: Piece) -> None:
        node.ledger.forget_record()
        node.recorded = False
        self.ran[node.name] = self.ran.get(node.name, 0) + 1
        job = Job(node.stage.run, self._task(node, piece), node.ledger.record)
        if node.stage.place == "process":
            self._process = OwnProcess(job, self._show)
            threading.Thread(target=self._wait_for_process, args=(node, piece, self._process), daemon=True).start()
            return
        name = f"{node.name}-{piece.shard}-{piece.fingerprint[:12]}"
        client = self._connect()
        future = client.submit(job.execute, key=f"{name}-{id(job)}", resources=self._resources(node), pure=False)
        future.add_done_callback(lambda future: self._ended.put(Outcome(node, piece, partial(_receipts, name, future))))

    def _task(self, node: Node, piece: Piece) -> Task:
        return Task(
            stage=node.name,
            shard=piece.shard,
            root=self.storage.root,
            folder=node.folder,
            recipe=node.digest,
            fingerprint=piece.fingerprint,
            settings=node.stage.settings,
            inputs=piece.inputs,
            folders={name: self.graph[name].folder for name in node.stage.upstream},
            bases=self._service(node),
            deadline=self.deadline,
        )

    def _service(self, node: Node) -> Mapping[str, str]:
        """Base addresses for a stage; what serves them stays up until the run ends."""
        service = node.stage.service
        if service is None:
            return {}
        if service not in self._bases:
            self._bases[service] = self._stack.enter_context(service())
        return self._bases[service]

    def _connect(self) -> "Client":
        if self._client is None:
            opened = cluster.connected(self.scheduler) if self.scheduler else cluster.embedded(self.settings)
            self._client = self._stack.enter_context(opened)
            self._offered = cluster.offered_resources(self._client)
        return self._client

    def _resources(self, node: Node) -> dict[str, int]:
        """What a worker must have. Only a device is asked of workers that somebody else set up without our names."""
        name = cluster.RESOURCES[node.stage.place]
        if name in self._offered:
            return {name: 1}
        if node.stage.place == "device":
            raise PipelineError(
                f"{node.name} wants a worker with the resource GPU, and none of the cluster has it. "
                "Start one with: dask worker ADDRESS --resources GPU=1, or set extract.device=cpu"
            )
        return {}

    def _collect(self) -> None:
        """Wait a moment for pieces that ended, and take them in."""
        try:
            outcome = self._ended.get(timeout=_POLL_S)
        except queue.Empty:
            return
        self._under_way[outcome.node.stage.place] -= 1
        self._absorb(self._settle(outcome.node, outcome.result()))

    def _wait_for_process(self, node: Node, piece: Piece, process: OwnProcess) -> None:
        try:
            receipts = process.result()
        except Exception as caught:  # noqa: BLE001 - raised again in the main thread
            error = caught
            self._ended.put(Outcome(node, piece, lambda: _raise(error)))
        else:
            self._ended.put(Outcome(node, piece, lambda: receipts))

    def _end_process(self) -> None:
        """Let the process of its own save and end; end it by force when it takes too long."""
        if self._process is not None and self._under_way.get("process"):
            self._process.stop()
            try:
                self._ended.get(timeout=_SAVE_S)
            except queue.Empty:
                self._process.kill()

    def _show(self, progress: Progress) -> None:
        self.progress.update(progress.stage, progress.done or 0, progress.total, progress.text)


def _receipts(name: str, future: "Future") -> list[Receipt]:
    """Receipts of a piece that ended on the cluster.

    Raises:
        PipelineError: what the piece raised, or that its worker died.
    """
    from distributed import CancelledError, KilledWorker

    try:
        receipts: list[Receipt] = future.result()
    except KilledWorker as error:
        raise PipelineError(
            f"{name}: its worker process died (out of memory, or a library crashed on an image). "
            "Run the same command again"
        ) from error
    except CancelledError as error:
        raise PipelineError(f"{name}: the cluster went away. Run the same command again") from error
    return receipts


def _raise(error: Exception) -> list[Receipt]:
    raise error
