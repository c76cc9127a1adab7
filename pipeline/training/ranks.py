"""The other ranks of a training run, a process each: rank 0 saves and tells, they do their share of each batch."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import distributed

from pipeline.engine.task import Task
from pipeline.machine import stopping
from pipeline.machine.environment import environment
from schemas.command import AGAIN
from schemas.errors import PipelineError

_END_WITHIN_S = 30.0  # after the last step, which all take together
_TELL_WITHIN_S = 2.0  # for the exit code of a rank whose connection is gone


@contextmanager
def other_ranks(work: Callable[[Task], Any], task: Task, processes: int) -> Iterator[None]:
    """Inside, ranks 1 to `processes` - 1 run `work(task)` in processes of their own, and this process is rank 0.

    They are joined through loopback, by the variables that torch's launchers set. They end when this process does.

    Raises:
        PipelineError: a rank died.
    """
    if processes == 1:
        yield
        return
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(
            target=_run_rank, args=(work, task, rendezvous | _variables(rank)), name=f"biam-pipe train {rank}"
        )
        for rank in range(1, processes)
    ]
    with stopping.sparing_children():
        for process in others:
            process.start()
    try:
        with environment(rendezvous | _variables(0)):
            yield
        for process in others:
            process.join(_END_WITHIN_S)
    except RuntimeError as error:  # what torch raises where a connection breaks
        for rank, process in enumerate(others, start=1):
            process.join(_TELL_WITHIN_S)
            if process.exitcode:
                raise PipelineError(
                    f"train: process {rank} of {processes} died (exit code {process.exitcode})",
                    expected="all to go on",
                    hint="Out of memory? Run the same command again; it goes on from the last checkpoint:",
                    run=AGAIN,
                ) from error
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for process in others:
            process.terminate()
            process.join()


def _run_rank(work: Callable[[Task], Any], task: Task, variables: Mapping[str, str]) -> None:
    os.environ.update(variables)
    try:
        work(task)
    except PipelineError:
        return  # rank 0 has it, too, and tells


def _variables(rank: int) -> dict[str, str]:
    return {"LOCAL_RANK": str(rank), "RANK": str(rank), "NODE_RANK": "0"}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
