"""The workers that tasks run on: of a user's cluster, or of an embedded one that is started at first need."""

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from pipeline.engine.cluster.embedded import embedded, require_dask, resource_of
from pipeline.engine.cluster.gpus import require_gpu, visible_gpus
from pipeline.engine.task import Place
from pipeline.engine.work import Hear, Told
from pipeline.machine import stopping
from schemas.command import AGAIN
from schemas.config import EngineConfig
from schemas.errors import PipelineError
from schemas.receipts import Receipt

if TYPE_CHECKING:
    from distributed import Client, Future


class WorkerDiedError(PipelineError):
    """The process that a task ran in is gone, and the task may or may not be why."""


class Pool:
    """The workers that tasks run on: of a user's cluster, or of an embedded one that is started at first need.

    Args:
        scheduler: address of a user's Dask scheduler; None for the embedded cluster.
        places: where the tasks to come may want to run; the embedded cluster has workers for these only.
        hear: takes what tasks tell of how far they are, in a thread of Dask's that must not wait.
    """

    def __init__(self, scheduler: str | None, settings: EngineConfig, places: Collection[Place], hear: Hear) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._places = places
        self._hear = hear
        self._stack = ExitStack()
        self._client: Client | None = None
        self._declared: set[str] = set()
        self._capacity: dict[str, int] = {
            "io": settings.io_workers,
            "compute": settings.compute_workers,
            "GPU": len(visible_gpus()),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def resource(self, place: Place) -> str:
        """The resource that a task takes.

        Raises:
            PipelineError: it wants a GPU, and no worker has one.
        """
        if self._scheduler is not None:
            self._open()
        if place == "gpu":
            require_gpu(self._capacity["GPU"])
        return resource_of(place, self._capacity["GPU"])

    def slots(self, resource: str) -> int:
        """Tasks that can run at once."""
        return self._capacity[resource]

    def submit(self, resource: str, name: str, execute: Callable[[Hear], list[Receipt]]) -> "Future":
        """Start a task; of a user's workers without our resources, any will do."""
        assert self._scheduler or resource in self._resources(), f"a task for {resource}, which was to get no more"
        client = self._open()
        wanted = {resource: 1} if resource in self._declared else {}
        work = partial(_in_worker, execute, client.id)
        return client.submit(work, key=f"{name}-{uuid.uuid4().hex}", resources=wanted, pure=False)

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
        return {resource_of(place, self._capacity["GPU"]) for place in self._places}

    def _open(self) -> "Client":
        if self._client is None:
            opened = _connected(self._scheduler) if self._scheduler else embedded(self._settings, self._places)
            with stopping.sparing_children():
                self._client = self._stack.enter_context(opened)
            self._stack.enter_context(_listening(self._client, self._hear))
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._declared = {name for worker in workers for name, amount in worker["resources"].items() if amount}
            if self._scheduler:
                if not workers:
                    raise PipelineError(
                        f"the Dask cluster at {self._scheduler} has no workers",
                        found=0,
                        expected="at least 1",
                        hint=f"Start one: dask worker {self._scheduler}",
                    )
                threads = sum(worker["nthreads"] for worker in workers)
                for name in self._capacity:
                    offered = int(sum(worker["resources"].get(name, 0) for worker in workers))
                    self._capacity[name] = offered or (0 if name == "GPU" else threads)
        return self._client


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


def _in_worker(execute: Callable[[Hear], list[Receipt]], topic: str) -> list[Receipt]:
    """Do a task in a Dask worker. What it tells is dropped where nobody is there to take it."""
    from distributed import get_worker

    worker = get_worker()
    return execute(lambda told: worker.log_event(topic, tuple(told)))


def receipts_of(name: str, future: "Future") -> list[Receipt]:
    """Receipts of a task that ended on the cluster.

    Raises:
        PipelineError: what the task raised, that its worker died, or that none came back.
    """
    from distributed import CancelledError, KilledWorker
    from distributed.scheduler import NoValidWorkerError, NoWorkerError

    try:
        receipts: list[Receipt] = future.result()
    except KilledWorker as error:
        raise WorkerDiedError(
            f"{name}: its worker process died (out of memory, or a library crashed)",
            hint="Run the same command again:",
            run=AGAIN,
        ) from error
    except (NoValidWorkerError, NoWorkerError) as error:
        raise PipelineError(
            f"{name}: its worker process died, and no other could be started",
            hint="Is the machine short of memory, processes or open files? Run the same command again:",
            run=AGAIN,
        ) from error
    except CancelledError as error:
        raise PipelineError(f"{name}: the cluster went away", hint="Run the same command again:", run=AGAIN) from error
    return receipts


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    """A client of a cluster that somebody else runs.

    Raises:
        PipelineError: nobody answers.
    """
    require_dask()
    from distributed import Client

    try:
        client = Client(address, set_as_default=False, timeout="5s")
    except (OSError, TimeoutError, ValueError) as error:
        raise PipelineError(
            f"no Dask scheduler answers at {address} ({error})", hint="Start one: dask scheduler"
        ) from error
    with client:
        yield client
