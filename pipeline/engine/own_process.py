"""Processes for one task each, which want children, signals or a device for themselves; one after the other.

To load what a task needs takes seconds. On Linux one process loads it, and the others are forked from it; where there
is a GPU, which does not bear a fork once a library has looked at it, and on other systems each loads its own.

All die with the process that started them: each waits for what that one never sends, and gets the end of the pipe.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from pipeline.engine.cluster.gpus import visible_gpus
from pipeline.engine.work import Hear, Job, Told
from pipeline.machine import stopping
from pipeline.machine.environment import environment
from pipeline.machine.memory import compact
from pipeline.machine.waiting import patient
from schemas.command import AGAIN
from schemas.errors import PipelineError
from schemas.receipts import Receipt


@dataclass(frozen=True)
class _Begun:
    """A task is under way in this process."""

    pid: int


@dataclass(frozen=True)
class _Over:
    """The process of a task is gone."""

    exit_code: int


class OwnProcesses:
    """Gives tasks their processes; what one has loaded serves the next."""

    def __init__(self) -> None:
        self._origin: multiprocessing.process.BaseProcess | None = None  # the one that loads
        self._pid: int | None = None  # of the one at work
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._origin is not None:
            self._pipe.close()
            self._origin.join()

    def start(self, job: Job, hear: Hear) -> None:
        """Begin a task; `result` waits for its end.

        Args:
            hear: takes what it tells.
        """
        self._hear, self._stage, self._pid, self._stopped = hear, job.task.stage, None, False
        with stopping.sparing_children(), environment({**compact(), **patient()}):
            if self._origin is None or not self._origin.is_alive():
                context = multiprocessing.get_context("spawn")
                self._pipe, child_end = context.Pipe()
                forks = sys.platform == "linux" and not visible_gpus()
                self._origin = context.Process(target=_origin, args=(child_end, job.preload, forks))
                self._origin.start()
                child_end.close()
            self._pipe.send((job, dict(os.environ)))

    def stop(self) -> None:
        """Ask the one at work to save and end."""
        self._stopped = True
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        assert self._origin is not None, "a task is under way"
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._origin.kill()

    def result(self) -> list[Receipt]:
        """Wait for the receipts.

        Raises:
            PipelineError: what the work raised, or that the process died.
        """
        found: list[Receipt] | BaseException | None = None
        try:
            while not isinstance(message := self._pipe.recv(), _Over):
                if isinstance(message, _Begun):
                    self._pid = message.pid
                    if self._stopped:
                        self.stop()
                elif isinstance(message, Told):
                    self._hear(message)
                else:
                    found = message
            exit_code: int | None = message.exit_code
        except EOFError:
            assert self._origin is not None, "a task is under way"
            self._origin.join()
            exit_code = self._origin.exitcode
        self._pid = None
        if isinstance(found, BaseException):
            raise found
        if found is None:
            cause = f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
            raise PipelineError(
                f"{self._stage}: its process died ({cause})",
                hint="Out of memory? Run the same command again:",
                run=AGAIN,
            )
        return found


def _origin(pipe: Connection, preload: tuple[str, ...], forks: bool) -> None:
    """Load, then do one task after the other as they come, each in a fork; or one alone, here."""
    for name in preload:
        import_module(name)
    with contextlib.suppress(EOFError, OSError):
        while True:
            job, variables = pipe.recv()
            if not forks:
                _do(job, variables, pipe)
                return
            if (pid := os.fork()) == 0:
                try:
                    _do(job, variables, pipe)
                finally:
                    os._exit(0)  # what is to be done at the exit is for the one that it was forked from
            _, status = os.waitpid(pid, 0)
            pipe.send(_Over(os.waitstatus_to_exitcode(status)))


def _do(job: Job, variables: Mapping[str, str], pipe: Connection) -> None:
    """Do a task with the environment of the one that asks for it; send the receipts, or what it raised."""
    os.environ.clear()
    os.environ.update(variables)
    threading.Thread(target=_die_with_parent, args=(pipe,), daemon=True).start()
    pipe.send(_Begun(os.getpid()))
    message: list[Receipt] | BaseException
    try:
        with stopping.watching_signals():
            message = job.execute(partial(_send, pipe))
    except PipelineError as error:
        message = error
    except Exception as error:  # noqa: BLE001 - raised again by the one that asked
        error.add_note(traceback.format_exc())
        message = error
    pipe.send(message)


def _die_with_parent(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()  # nothing is sent while a task is under way: this returns when the sender is gone
    os._exit(1)


def _send(pipe: Connection, told: Told) -> None:
    with contextlib.suppress(OSError):  # the parent is gone: `_die_with_parent` sees to that
        pipe.send(told)
