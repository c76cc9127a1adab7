"""A Dask cluster: the embedded one, or a connection to a user's.

Embedded: scheduler in this process, bound to loopback; one worker process a kind of work, so that fetching, computing
and Python's lock do not wait for each other. The workers end when this process ends, also when it is killed: each
watches the pipe its nanny holds.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from schemas.config import EngineConfig
from schemas.errors import PipelineError

if TYPE_CHECKING:
    from distributed import Client

RESOURCES = {"network": "network", "compute": "compute", "device": "GPU"}

# Failures come back as exceptions; what workers log beside that is noise.
_WORKER_ENVIRONMENT = {"DASK_LOGGING__DISTRIBUTED": "critical"}

# A piece is bounded by its own deadlines, so Dask's heartbeats need not be strict; memory is bounded by the stages.
_DASK = {
    "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
    "distributed.scheduler.allowed-failures": 0,  # a piece that kills its worker must not kill three more
    "distributed.comm.timeouts.connect": "60s",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.tick.limit": "1h",
}


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use, without loading a GPU library."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name not in ("", "-1")]
    return [str(number) for number in range(64) if Path(f"/dev/nvidia{number}").exists()]


@contextmanager
def embedded(settings: EngineConfig) -> Iterator["Client"]:
    """A client of a cluster that lives as long as this block."""
    import dask
    from distributed import Client, SpecCluster

    with TemporaryDirectory(prefix="biam-pipe-") as scratch, dask.config.set(_DASK):
        scheduler, workers = _layout(settings, scratch)
        with (
            SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client


@contextmanager
def connected(address: str) -> Iterator["Client"]:
    """A client of a cluster that somebody else runs.

    Raises:
        PipelineError: nobody answers.
    """
    from distributed import Client

    try:
        client = Client(address, set_as_default=False, timeout="15s")
    except (OSError, TimeoutError, ValueError) as error:
        raise PipelineError(f"no Dask scheduler answers at {address} ({error}). Start one: dask scheduler") from error
    with client:
        yield client


def offered_resources(client: "Client") -> set[str]:
    """Names of the resources that at least one worker has."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {name for worker in workers for name, amount in worker["resources"].items() if amount > 0}


def _layout(settings: EngineConfig, scratch: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    from distributed import Nanny, Scheduler

    shared = {"host": "127.0.0.1", "dashboard": False, "local_directory": scratch, "memory_limit": 0}

    def worker(resource: str, slots: int, env: dict[str, str]) -> dict[str, Any]:
        options = {**shared, "nthreads": slots, "resources": {resource: slots}, "env": env}
        return {"cls": Nanny, "options": options}

    workers = {f"network-{i}": worker("network", 2, {}) for i in range(settings.network_workers)}
    workers |= {f"compute-{i}": worker("compute", 1, {}) for i in range(settings.compute_workers)}
    workers |= {f"device-{gpu}": worker("GPU", 1, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in visible_gpus()}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
    return scheduler, workers
