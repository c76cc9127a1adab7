"""The embedded cluster: scheduler in this process, worker processes for each kind of work that the run may ask for.

So fetching, computing and Python's lock do not wait for each other. Nobody without the key of this run can connect
(`keys`), and nothing else listens. The workers end when this process ends, also when it is killed: each watches the
pipe its nanny holds.
"""

import logging
import multiprocessing
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from pipeline.engine.cluster.gpus import visible_gpus
from pipeline.engine.cluster.keys import run_keys
from pipeline.engine.task import Place
from pipeline.files.refusals import refusals_named
from pipeline.files.scratch import scratch_folder
from pipeline.machine.waiting import patient
from schemas.command import AGAIN
from schemas.config import EngineConfig
from schemas.errors import PipelineError

if TYPE_CHECKING:
    from distributed import Client

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

_NO_PAGES = "pipeline.engine.cluster.no_pages"

# A task is bounded by its own deadlines, so Dask's heartbeats need not be strict; memory is bounded by the stages.
_DASK = {
    "distributed.scheduler.allowed-failures": 0,  # a task that kills its worker must not kill three more
    "distributed.scheduler.no-workers-timeout": f"{_START_S}s",  # for a worker that died to come back
    "distributed.scheduler.http.routes": [],  # no page until `no_pages` ends the server
    "distributed.scheduler.preload": [_NO_PAGES],
    "distributed.worker.http.routes": [],
    "distributed.worker.preload": [_NO_PAGES],
    "distributed.comm.timeouts.connect": "60s",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,  # it looks at every thread 100 times a second
    "distributed.admin.tick.limit": "1h",
}


def resource_of(place: Place, gpus: int) -> str:
    """The resource that a task takes.

    Args:
        gpus: that there are.
    """
    if place in ("gpu", "gpu-or-compute"):
        return "GPU" if gpus else "compute"
    return place


@contextmanager
def embedded(settings: EngineConfig, places: Collection[Place]) -> Iterator["Client"]:
    """A client of a cluster that lives as long as this block.

    Raises:
        PipelineError: the workers do not start.
    """
    require_dask()
    require_semaphores()
    import dask
    from distributed import Client, SpecCluster

    with ExitStack() as stack:
        scratch = str(stack.enter_context(scratch_folder()))
        # What users set for clusters of their own, such as encryption, is not for this one: Dask's own defaults count.
        own = {**dask.config.merge(*dask.config.defaults), **_DASK, "temporary-directory": scratch}
        own["distributed.nanny.pre-spawn-environ"] = {**WORKER_ENVIRONMENT, **patient()}
        stack.enter_context(dask.config.set(own))
        security = run_keys()
        scheduler, workers = _layout(settings, places, scratch, security)
        try:
            cluster = SpecCluster(
                workers=workers, scheduler=scheduler, security=security, silence_logs=logging.CRITICAL
            )
            client = Client(stack.enter_context(cluster), set_as_default=False)
        except (AssertionError, OSError, RuntimeError, TimeoutError) as error:  # which of them is chance
            _require_writable(scratch)
            raise PipelineError(
                f"the worker processes did not start within {_START_S:g} s ({_first_cause(error)})",
                hint="Is the machine short of memory, processes or open files? Run the same command again:",
                run=AGAIN,
            ) from error
        yield stack.enter_context(client)


def require_dask() -> None:
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


def _layout(
    settings: EngineConfig, places: Collection[Place], scratch: str, security: Any
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    from distributed import Nanny, Scheduler

    # Dask would listen on every interface unless told otherwise.
    closed = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0", "security": security}
    closed["protocol"] = "tls://"

    def worker(resource: str, **environment: str) -> dict[str, Any]:
        options = {"nthreads": 1, "resources": {resource: 1}, "env": environment, "memory_limit": 0}
        limits = {"local_directory": scratch, "death_timeout": _START_S}
        return {"cls": Nanny, "options": {**closed, **options, **limits}}

    gpus = visible_gpus()
    workers = {
        "io": [worker("io", **_FRUGAL) for _ in range(settings.io_workers)],
        "compute": [worker("compute") for _ in range(settings.compute_workers)],
        "GPU": [worker("GPU", CUDA_VISIBLE_DEVICES=gpu) for gpu in gpus],
    }
    wanted = sorted({resource_of(place, len(gpus)) for place in places} & set(workers))
    named = {f"{name}-{number}": one for name in wanted for number, one in enumerate(workers[name])}
    return {"cls": Scheduler, "options": {**closed, "port": 0}}, named
