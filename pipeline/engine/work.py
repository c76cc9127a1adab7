"""Runs one task where it is: in a Dask worker's thread, or in a process of its own."""

import contextlib
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple

from pipeline.engine.ledger import Ledger, seal
from pipeline.engine.task import Output, Task
from pipeline.files.refusals import refusals_named
from pipeline.machine import stopping
from pipeline.machine.environment import environment
from pipeline.machine.memory import compact
from pipeline.machine.telling import heard_by, throttled
from pipeline.machine.waiting import patient
from schemas.command import AGAIN
from schemas.errors import PipelineError
from schemas.receipts import Receipt

Run = Callable[[Task], list[Output]]


class Told(NamedTuple):
    """How far a task under way is, in its own words.

    Attributes:
        stage: which one it belongs to.
        done: rows, bytes or steps, as the text says.
        total: of those, None where it is not known.
    """

    stage: str
    done: int
    total: int | None
    text: str


Hear = Callable[[Told], None]


@dataclass(frozen=True)
class Job:
    """A task with what is needed to do it and to seal it.

    Attributes:
        record: stem of the stage's record.
    """

    run: Run
    task: Task
    record: str

    def execute(self, hear: Hear) -> list[Receipt]:
        """Do the work, then write the receipts: first the shards', last the one without shard.

        Args:
            hear: takes what the work tells of how far it is, every half second at most. Must not raise.
        """
        task = self.task
        ledger = Ledger(task.storage, task.stage, task.folder, self.record)
        ledger.forget(task.shard)
        started_at, started = time.time(), time.perf_counter()
        with (
            throttled(lambda *words: hear(Told(task.stage, *words))) as channel,
            heard_by(channel),
            refusals_named(f"below {task.storage.shown(task.folder)}", "read or write"),
        ):
            outputs = sorted(self.run(task), key=lambda output: output.shard is None)
        seconds = (time.perf_counter() - started) / len(outputs)
        return [self._seal(ledger, output, len(outputs) - 1, started_at, seconds) for output in outputs]

    def _seal(self, ledger: Ledger, output: Output, shards: int, started_at: float, seconds: float) -> Receipt:
        """Write the receipt of an output; where the same bytes have one already, that one stays."""
        receipt = seal(self.task, output, started_at, seconds)
        if shards and receipt.shard is None:
            receipt = receipt.model_copy(update={"facts": {**receipt.facts, "shards": shards}})
        standing = ledger.read(receipt.shard)  # none but of a stage that writes many shards: see `forget` above
        if standing and (standing.files, standing.content, standing.parts) == (
            receipt.files,
            receipt.content,
            receipt.parts,
        ):
            return standing
        ledger.write(receipt)
        return receipt


class OwnProcess:
    """A process for one task that wants children, signals or a device for itself.

    The child dies with its parent: it holds the other end of a pipe that the system closes.
    """

    def __init__(self, job: Job, hear: Hear) -> None:
        context = multiprocessing.get_context("spawn")
        self._hear = hear
        self._stage = job.task.stage
        self._pipe, child_end = context.Pipe()
        self._process = context.Process(target=_child, args=(job, child_end), name=f"biam-pipe {self._stage}")
        with stopping.sparing_children(), environment({**compact(), **patient()}):
            self._process.start()
        child_end.close()

    def stop(self) -> None:
        """Ask it to save and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def result(self) -> list[Receipt]:
        """Wait for the receipts.

        Raises:
            PipelineError: what the work raised, or that the process died.
        """
        try:
            while isinstance(message := self._pipe.recv(), Told):
                self._hear(message)
        except EOFError as error:
            self._process.join()
            code = self._process.exitcode
            cause = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            raise PipelineError(
                f"{self._stage}: its process died ({cause})",
                hint="Out of memory? Run the same command again:",
                run=AGAIN,
            ) from error
        self._pipe.close()
        self._process.join()
        if isinstance(message, BaseException):
            raise message
        return message


def _child(job: Job, pipe: Connection) -> None:
    threading.Thread(target=_die_with_parent, args=(pipe,), daemon=True).start()
    message: list[Receipt] | BaseException
    try:
        with stopping.watching_signals():
            message = job.execute(partial(_send, pipe))
    except PipelineError as error:
        message = error
    except Exception as error:  # noqa: BLE001 - the parent raises it again
        error.add_note(traceback.format_exc())
        message = error
    pipe.send(message)


def _die_with_parent(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()  # the parent never sends: this returns when it is gone
    os._exit(1)


def _send(pipe: Connection, told: Told) -> None:
    with contextlib.suppress(OSError):  # the parent is gone: `_die_with_parent` sees to that
        pipe.send(told)
