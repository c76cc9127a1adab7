"""Runs one task where it is: in a Dask worker's thread, or in a process of its own (`own_process`)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.engine.ledger import Ledger, seal
from pipeline.engine.task import Output, Task
from pipeline.files.refusals import refusals_named
from pipeline.machine import quiet
from pipeline.machine.telling import heard_by, throttled
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
        preload: modules that take long to load, for a process of its own.
    """

    run: Run
    task: Task
    record: str
    preload: tuple[str, ...] = ()

    def execute(self, hear: Hear) -> list[Receipt]:
        """Do the work, then write the receipts: first the shards', last the one without shard.

        Args:
            hear: takes what the work tells of how far it is, every half second at most. Must not raise.
        """
        quiet.heed()
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
