"""The other processes of a training run: this one saves and tells, they do their share of each batch."""

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
from schemas.errors import PipelineError

_END_WITHIN_S = 30.0  # after the last step, which all take together
_TELL_WITHIN_S = 2.0  # for the exit code of one whose connection is gone


@contextmanager
def peers(work: Callable[[Task], Any], task: Task, processes: int) -> Iterator[None]:
    """Inside, `processes` - 1 others run `work(task)`, and this process is the first of all.

    They are joined through loopback, by the variables that torch's launchers set. They end when this process does.

    Raises:
        PipelineError: one of them died.
    """
    if processes == 1:
        yield
        return
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_take_part, args=(work, task, meeting | _place(rank)), name=f"biam-pipe train {rank}")
        for rank in range(1, processes)
    ]
    with stopping.sparing_children():
        for other in others:
            other.start()
    try:
        with environment(meeting | _place(0)):
            yield
        for other in others:
            other.join(_END_WITHIN_S)
    except RuntimeError as error:  # what torch raises where a connection breaks
        for rank, other in enumerate(others, start=1):
            other.join(_TELL_WITHIN_S)
            if other.exitcode:
                raise PipelineError(
                    f"train: process {rank} of {processes} died (exit code {other.exitcode}), expected all to go on. "
                    "Out of memory? Run the same command again; it goes on from the last checkpoint"
                ) from error
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for other in others:
            other.terminate()
            other.join()


def _take_part(work: Callable[[Task], Any], task: Task, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    try:
        work(task)
    except PipelineError:
        return  # the first process has it, too, and tells


def _place(rank: int) -> dict[str, str]:
    return {"LOCAL_RANK": str(rank), "RANK": str(rank), "NODE_RANK": "0"}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
