"""A Dask cluster: the embedded one, or a connection to a user's.

Embedded: scheduler in this process, bound to loopback; worker processes for each kind of work that the run may ask for,
so that fetching, computing and Python's lock do not wait for each other. The workers end when this process ends, also
when it is killed: each watches the pipe its nanny holds.
"""

import logging
import multiprocessing
import os
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Self

from pipeline.engine.task import Place
from pipeline.engine.work import Hear, Told
from pipeline.files.refusals import refusals_named
from pipeline.files.scratch import scratch_folder
from pipeline.machine import stopping
from pipeline.machine.waiting import patient
from schemas.command import AGAIN
from schemas.config import EngineConfig
from schemas.errors import PipelineError
from schemas.receipts import Receipt

if TYPE_CHECKING:
    from distributed import Client, Future

_START_S = 60  # a worker takes 1 s; on a machine that is short of everything, perhaps 20

# Failures come back as exceptions; what workers log beside that is noise. Memory that is free goes back to the system:
# images come and go in many threads, and glibc would keep an arena for each. But 32 MB are kept, since clearing new
# pages for each image took 60 us of the 550 that one took to download. One arena, so that `machine.memory` can keep
# what a network on a CPU frees.
WORKER_ENVIRONMENT = {
    "DASK_LOGGING__DISTRIBUTED": "critical",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(16 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
}

# Arrow's own allocator keeps 70 MB more of what passes through an io worker, and is no faster there.
_FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system"}

# A task is bounded by its own deadlines, so Dask's heartbeats need not be strict; memory is bounded by the stages.
_DASK = {
    "distributed.scheduler.allowed-failures": 0,  # a task that kills its worker must not kill three more
    "distributed.scheduler.no-workers-timeout": f"{_START_S}s",  # for a worker that died to come back
    "distributed.comm.timeouts.connect": "60s",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,  # it looks at every thread 100 times a second
    "distributed.admin.tick.limit": "1h",
}


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use, without loading a GPU library."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name not in ("", "-1")]
    return [str(number) for number in range(64) if Path(f"/dev/nvidia{number}").exists()]


def require_gpu(offered: int) -> None:
    """See that the workers offer a GPU.

    Raises:
        PipelineError: they do not.
    """
    if not offered:
        raise PipelineError(
            "a stage wants a GPU (extract.device=cuda), and no worker has one",
            hint="Set extract.device=cpu, or start a worker that offers it: dask worker ADDRESS --resources GPU=1",
        )


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
        return _resource(place, self._capacity["GPU"])

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
        return {_resource(place, self._capacity["GPU"]) for place in self._places}

    def _open(self) -> "Client":
        if self._client is None:
            opened = _connected(self._scheduler) if self._scheduler else _embedded(self._settings, self._places)
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


def _resource(place: Place, gpus: int) -> str:
    if place in ("gpu", "gpu-or-compute"):
        return "GPU" if gpus else "compute"
    return place


@contextmanager
def _embedded(settings: EngineConfig, places: Collection[Place]) -> Iterator["Client"]:
    """A client of a cluster that lives as long as this block.

    Raises:
        PipelineError: the workers do not start.
    """
    _require_dask()
    require_semaphores()
    import dask
    from distributed import Client, SpecCluster

    with ExitStack() as stack:
        scratch = str(stack.enter_context(scratch_folder()))
        # What users set for clusters of their own, such as encryption, is not for this one: Dask's own defaults count.
        own = {**dask.config.merge(*dask.config.defaults), **_DASK, "temporary-directory": scratch}
        own["distributed.nanny.pre-spawn-environ"] = {**WORKER_ENVIRONMENT, **patient()}
        stack.enter_context(dask.config.set(own))
        scheduler, workers = _layout(settings, places, scratch)
        try:
            cluster = SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL)
            client = Client(stack.enter_context(cluster), set_as_default=False)
        except (AssertionError, OSError, RuntimeError, TimeoutError) as error:  # which of them is chance
            _require_writable(scratch)
            raise PipelineError(
                f"the worker processes did not start within {_START_S:g} s ({_first_cause(error)})",
                hint="Is the machine short of memory, processes or open files? Run the same command again:",
                run=AGAIN,
            ) from error
        yield stack.enter_context(client)


def _require_dask() -> None:
    """Import Dask, which reads its settings then: those in the home folder, those of the machine, and variables.

    Raises:
        PipelineError: they cannot be read.
    """
    try:
        import dask.config  # noqa: F401
    except (ValueError, OSError) as error:
        raise PipelineError(
            f"Dask cannot read its settings: {' '.join(str(error).split())}", hint="Correct that file or move it away"
        ) from error


def require_semaphores() -> None:
    """See that processes can have semaphores: Dask's wait a minute for workers that can have none.

    Raises:
        PipelineError: they cannot.
    """
    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError as error:
        raise PipelineError(
            f"the system gives processes no semaphores ({error.strerror})",
            hint="Is /dev/shm there, writable and not full? Then run the same command again:",
            run=AGAIN,
        ) from error


def _require_writable(folder: str) -> None:
    """See that workers can write there: what the system refused to one of them is not told to this process.

    Raises:
        PipelineError: they cannot.
    """
    with refusals_named(folder), TemporaryFile(dir=folder) as file:
        file.write(b"?")


def _first_cause(error: BaseException) -> str:
    """What began it, on one line: Dask wraps what went wrong more than once."""
    while error.__cause__ is not None:
        error = error.__cause__
    return ": ".join(filter(None, [type(error).__name__, *str(error).strip().splitlines()[:1]]))


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    """A client of a cluster that somebody else runs.

    Raises:
        PipelineError: nobody answers.
    """
    _require_dask()
    from distributed import Client

    try:
        client = Client(address, set_as_default=False, timeout="5s")
    except (OSError, TimeoutError, ValueError) as error:
        raise PipelineError(
            f"no Dask scheduler answers at {address} ({error})", hint="Start one: dask scheduler"
        ) from error
    with client:
        yield client


def _layout(
    settings: EngineConfig, places: Collection[Place], scratch: str
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    from distributed import Nanny, Scheduler

    # Dask serves metrics on every interface unless told otherwise, with or without a dashboard.
    loopback = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}

    def worker(resource: str, **environment: str) -> dict[str, Any]:
        options = {"nthreads": 1, "resources": {resource: 1}, "env": environment, "memory_limit": 0}
        limits = {"local_directory": scratch, "death_timeout": _START_S}
        return {"cls": Nanny, "options": {**loopback, **options, **limits}}

    gpus = visible_gpus()
    workers = {
        "io": [worker("io", **_FRUGAL) for _ in range(settings.io_workers)],
        "compute": [worker("compute") for _ in range(settings.compute_workers)],
        "GPU": [worker("GPU", CUDA_VISIBLE_DEVICES=gpu) for gpu in gpus],
    }
    wanted = sorted({_resource(place, len(gpus)) for place in places} & set(workers))
    named = {f"{name}-{number}": one for name in wanted for number, one in enumerate(workers[name])}
    return {"cls": Scheduler, "options": {**loopback, "port": 0}}, named
