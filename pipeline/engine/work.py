"""Runs one task where it is: in a Dask worker's thread, or in a process of its own (`own_process`)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

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

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.task.storage, self.task.stage, self.task.folder, self.record)

    @contextmanager
    def attempted(self) -> Iterator["Job"]:
        """The same work, as an attempt that commits nothing once another has begun, wherever that is."""
        task = self.task
        with task.storage.attempt(task.folder, self._ledger.stem(task.shard)) as storage:
            yield replace(self, task=replace(task, storage=storage))

    def is_done(self) -> bool:
        """Whether this very run has done the work, and nobody has dropped or lost it since.

        The last receipt of the work may be in the stage record by then.
        """
        last, storage = self._ledger.read(self.task.shard), self.task.storage
        if last is None or last.lease is None:
            return False
        ours = (last.lease, last.fingerprint) == (storage.lease_id(), self.task.fingerprint)
        return ours and all(
            not file.pruned and storage.exists(file.path) and storage.size_bytes(file.path) == file.size_bytes
            for file in last.files
        )

    def execute(self, hear: Hear) -> list[Receipt]:
        """Do the work, then write the receipts: first the shards', last the one without shard.

        Args:
            hear: takes what the work tells of how far it is, every half second at most. Must not raise.
        """
        quiet.heed()
        task, ledger = self.task, self._ledger
        ledger.forget(task.shard)
        started_at, started = time.time(), time.perf_counter()
        with (
            throttled(lambda *words: hear(Told(task.stage, *words))) as channel,
            heard_by(channel),
            refusals_named(f"below {task.storage.shown(task.folder)}", "read or write"),
        ):
            outputs = sorted(self.run(task), key=lambda output: output.shard is None)
        seconds = (time.perf_counter() - started) / len(outputs)
        shards = [output.shard for output in outputs if output.shard is not None]
        return [self._seal(ledger, output, shards, started_at, seconds) for output in outputs]

    def _seal(
        self, ledger: Ledger, output: Output, shards: Sequence[int], started_at: float, seconds: float
    ) -> Receipt:
        """Write the receipt of an output; where the same bytes have one already, that one stays."""
        receipt = seal(self.task, output, started_at, seconds)
        if shards and receipt.shard is None:
            receipt = receipt.model_copy(update={"facts": {**receipt.facts, **_told(shards)}})
        standing = ledger.read(receipt.shard)  # none but of a stage that writes many shards: see `forget` above
        if standing and (standing.files, standing.content, standing.parts) == (
            receipt.files,
            receipt.content,
            receipt.parts,
        ):
            return standing
        ledger.write(receipt)
        return receipt


def _told(shards: Sequence[int]) -> dict[str, Any]:
    """The facts that say which shards a task of many has left."""
    counted = {"shards": len(shards)}
    return counted if sorted(shards) == list(range(len(shards))) else {**counted, "numbers": sorted(shards)}


def shards_of(whole: Receipt) -> Sequence[int]:
    """Which shards a task of many has left, by its receipt without shard."""
    numbers: Sequence[int] = whole.facts.get("numbers", range(whole.facts.get("shards", 0)))
    return numbers
