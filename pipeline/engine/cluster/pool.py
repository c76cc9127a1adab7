"""The workers that tasks run on: of a user's cluster, or of an embedded one that is started at first need."""

import pickle
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from pipeline.engine.cluster import on_worker
from pipeline.engine.cluster.embedded import embedded, resource_of
from pipeline.engine.cluster.gpus import require_gpu, visible_gpus
from pipeline.engine.cluster.probe import Expected
from pipeline.engine.cluster.users import Watch, connected
from pipeline.engine.task import Place
from pipeline.engine.work import Hear, Job, Told
from pipeline.machine import stopping
from schemas.command import AGAIN
from schemas.config import EngineConfig
from schemas.errors import PipelineError

if TYPE_CHECKING:
    from distributed import Client, Future

Ended = Callable[[Callable[[], None]], None]
_AHEAD = 2  # tasks for each slot: one runs, one waits, so that no worker idles between two
_BEYOND = 8  # more of them on a user's cluster: one that grows does so for tasks that wait


class WorkerDiedError(PipelineError):
    """The process that a task ran in is gone, and the task may or may not be why."""


class StrandedError(PipelineError):
    """No worker has the task, though one might: it has to be submitted again."""


class Pool:
    """The workers that tasks run on.

    Args:
        scheduler: address of a user's Dask scheduler; None for the embedded cluster.
        places: where the tasks to come may want to run; the embedded cluster has workers for these only.
        hear: takes what tasks tell of how far they are, in a thread of Dask's that must not wait.
        root: the work folder.
        wanted: tells what workers of a user's cluster have to see and to be.
    """

    def __init__(
        self,
        scheduler: str | None,
        settings: EngineConfig,
        places: Collection[Place],
        hear: Hear,
        root: str = "",
        wanted: Callable[[], Expected] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._places = places
        self._hear = hear
        self._root = root
        self._wanted = wanted
        self._stack = ExitStack()
        self._client: Client | None = None
        self._watch: Watch | None = None
        self._pending: dict[str, float] = {}
        self._futures: dict[str, Future] = {}
        self._stranded: set[str] = set()
        self._gpus = len(visible_gpus())  # at the start of a run: it is not to go on elsewhere where one restarts
        self._capacity: dict[str, int] = {
            "io": settings.io_workers,
            "compute": settings.compute_workers,
            "GPU": self._gpus,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._watch is not None and self._pending:
            self._watch.stop()
        self._stack.close()

    def resource(self, place: Place) -> str:
        """The resource that a task takes.

        Raises:
            PipelineError: it wants a GPU, and no worker has one.
        """
        if self._scheduler is not None:
            self.open()
        if place == "gpu":
            require_gpu(self._gpus)
        return resource_of(place, self._gpus)

    def slots(self, resource: str) -> int:
        """Tasks that can run at once, on the workers that are there now."""
        return self._capacity[resource] if self._watch is None else self._watch.capacity.slots[resource]

    def bound(self, resource: str) -> int:
        """Tasks that may be under way at once: some wait where they will run."""
        return _AHEAD * self.slots(resource) + (0 if self._watch is None else _BEYOND)

    def sharers(self, resource: str) -> int:
        """Worker processes among which such tasks are shared out."""
        return self._capacity[resource] if self._watch is None else self._watch.capacity.workers.get(resource, 1)

    def problem(self) -> PipelineError | None:
        """Why nothing will come of what is under way; None where something may.

        A cluster may be gone while nothing is to be done there: a training takes hours, and is not done there.
        """
        return self._watch.problem() if self._watch is not None and self._pending else None

    def submit(self, resource: str, name: str, job: Job, ended: Ended) -> None:
        """Start a task; of a user's workers without our resources, any that is fit will do.

        Args:
            ended: called when it has ended, in a thread of Dask's that must not wait, with what raises its error.
        """
        assert self._scheduler or resource in self._resources(), f"a task for {resource}, which was to get no more"
        client = self.open()
        wanted = {resource: 1}
        if self._watch is not None:
            self._watch.require_connection()
            wanted = {name: 1 for name in (resource,) if name in self._watch.capacity.declared}
            wanted[self._watch.resource] = 1
        key = f"{name}-{uuid.uuid4().hex}"
        self._pending[key] = time.monotonic()
        call = {"job": pickle.dumps(job), "run": client.id}
        future = self._futures[key] = client.submit(eval, on_worker.DO, call, key=key, resources=wanted, pure=False)
        future.add_done_callback(partial(self._done, name, ended))

    def keep(self, places: Collection[Place]) -> None:
        """Go on with the embedded workers of these places only: each of the others holds 95 MB for nothing."""
        before = self._resources()
        self._places = places
        gone = before - self._resources()
        if self._scheduler is None and self._client is not None and gone:
            cluster: Any = self._client.cluster
            names = [name for name in cluster.worker_spec if name.rpartition("-")[0] in gone]
            cluster.loop.add_callback(cluster.scale_down, names)  # nobody waits for it

    def _resources(self) -> set[str]:
        return {resource_of(place, self._gpus) for place in self._places}

    def open(self) -> "Client":
        """The client of the cluster, which is started, or connected to and probed, if it is not yet.

        Raises:
            PipelineError: it does not start, or does not answer, or no worker of it is fit.
        """
        if self._client is None:
            opened = connected(self._scheduler) if self._scheduler else embedded(self._settings, self._places)
            with stopping.sparing_children():
                client = self._stack.enter_context(opened)
            self._stack.enter_context(_listening(client, self._hear))
            if self._scheduler:
                assert self._wanted is not None, "workers of a user's cluster are probed"
                watch = Watch(
                    client,
                    self._scheduler,
                    self._wanted(),
                    self._root,
                    self._settings.wait_for_workers_s,
                    self._resubmit,
                    self._pending,
                )
                self._stack.enter_context(watch.watching())
                self._watch, self._gpus = watch, watch.capacity.slots["GPU"]
            self._client = client
        return self._client

    def _resubmit(self, keys: Collection[str]) -> None:
        """In the client's loop: have tasks that no worker has end, so that they are submitted again."""
        assert self._client is not None and self._client.loop is not None, "tasks have been submitted"  # noqa: PT018
        self._stranded.update(keys)
        futures = [future for key in keys if (future := self._futures.get(key)) is not None]
        self._client.loop.add_callback(self._client.cancel, futures)

    def _done(self, name: str, ended: Ended, future: "Future") -> None:
        """Hand on how a task ended. Of what has ended the client knows the error; nothing is fetched for that.

        One is lost that has ended on a worker that is gone by now. What it came to lies in the work folder.
        """
        key = str(future.key)
        self._pending.pop(key, None)
        self._futures.pop(key, None)
        if future.status in ("finished", "lost"):
            ended(lambda: None)
            return
        if key in self._stranded:
            error: BaseException = StrandedError(f"{name}: no worker has it")
        elif future.status == "error":
            error = _explained(name, future.exception())
        else:
            error = PipelineError(f"{name}: the cluster went away", hint="Run the same command again:", run=AGAIN)
        ended(partial(_raise, error))


def _raise(error: BaseException) -> None:
    raise error


def _explained(name: str, error: BaseException) -> BaseException:
    """What a task raised, or what became of its worker."""
    from distributed import KilledWorker
    from distributed.scheduler import NoValidWorkerError, NoWorkerError

    if isinstance(error, KilledWorker):
        return WorkerDiedError(
            f"{name}: its worker process died (out of memory, or a library crashed)",
            hint="Run the same command again:",
            run=AGAIN,
        )
    if isinstance(error, NoValidWorkerError | NoWorkerError):
        return PipelineError(
            f"{name}: its worker process died, and no other could be started",
            hint="Is the machine short of memory, processes or open files? Run the same command again:",
            run=AGAIN,
        )
    return error


@contextmanager
def _listening(client: "Client", hear: Hear) -> Iterator[None]:
    """Meanwhile, what tasks of this client tell is heard.

    They tell it as events of Dask, under the client's id: a topic of this run alone, which the scheduler forgets some
    time after the client has gone.
    """
    from distributed.client import ClosedClientError

    def take(event: tuple[float, Any]) -> None:
        _, message = event
        if not isinstance(message, dict):  # as are those that Dask itself puts there
            hear(Told(*message))

    client.subscribe_topic(client.id, take)
    try:
        yield
    finally:
        with suppress(ClosedClientError):  # the scheduler went away
            client.unsubscribe_topic(client.id)  # or the client would be told that it has gone, and cannot be
