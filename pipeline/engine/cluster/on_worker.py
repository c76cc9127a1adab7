"""What a Dask worker does for a run: a piece of its work, and to stop.

The scheduler unpickles what it is given, and may have none of our packages: it gets bytes, and the name of `do`.
"""

import pickle
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.engine.work import Job
from pipeline.machine import stopping

if TYPE_CHECKING:
    from distributed import Worker

DO = "__import__('pipeline.engine.cluster.on_worker', fromlist=['']).do(job, run)"

_ended: set[str] = set()
_under_way: Counter[str] = Counter()  # pieces, by run
_counting = threading.Lock()  # a worker may have several threads


def do(job: bytes, run: str) -> None:
    """Do a piece of work. Its receipts lie in the work folder: what comes back over the network may never arrive.

    Args:
        job: pickled.
        run: id of the client that it is done for; what the work tells goes to the topic of that name.

    Raises:
        PipelineError: what the work raises, or that its run has ended.
    """
    from distributed import get_worker

    worker, made = get_worker(), pickle.loads(job)  # noqa: S301 - of a run whose key, or whose scheduler, we have
    with _counted(run), stopping.ending_with(lambda: run in _ended):
        stopping.heed(None)
        _attempt(made, worker, run)


def _attempt(made: Job, worker: "Worker", run: str) -> None:
    """Do it as an attempt of its own: Dask begins another where it takes this worker for dead, though it is not.

    So it does where a worker goes that has done it, before the client has said that it knows: nothing is left to do.
    """
    with made.attempted() as attempt:
        if not attempt.is_done():
            attempt.execute(lambda told: worker.log_event(run, tuple(told)))


def stop(run: str) -> int:
    """Stop what is done for a run, now and later; how many pieces are still under way here."""
    _ended.add(run)
    return _under_way[run]


async def offer(resource: str, slots: int, dask_worker: "Worker") -> None:
    """Have the worker offer a resource: it has been found fit."""
    await dask_worker.set_resources(**{resource: slots})


@contextmanager
def _counted(run: str) -> Iterator[None]:
    with _counting:
        _under_way[run] += 1
    try:
        yield
    finally:
        with _counting:
            _under_way[run] -= 1
