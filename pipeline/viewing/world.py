"""What the pages ask of a work folder: its state, its runs, what one of them left; each looked up once in a while."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from pipeline.commands.runs.found import Run
from pipeline.commands.runs.told import Runs
from pipeline.commands.status import WorkStatus
from pipeline.files.inputs import Inputs
from schemas.command import Command
from schemas.config import Config

_FRESH_S = 2.0  # pages of one look tell the same; a run that goes on is told of soon enough
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Left:
    """What stages left, as a run reads it.

    Attributes:
        run: its name; None where there is no run yet, and settings as they are count.
        config: with which it was made.
        inputs: of every stage.
    """

    run: str | None
    config: Config
    inputs: Inputs


@dataclass(frozen=True)
class World:
    """What can be asked of a work folder.

    Attributes:
        given: the command that the user gave, whose work folder and settings commands on a page have, too.
        status: what its receipts say.
        runs: all its runs, newest first.
        left: what a run of this name left, None for no run.
    """

    given: Command
    status: Callable[[], WorkStatus]
    runs: Callable[[], Runs]
    left: Callable[[str | None], Left]


@dataclass
class Recent:
    """The answers of a world, each kept for a moment: many requests at once are one look.

    What a run left stays the same object as long as its receipts do, so that a file is compared with its receipt once.
    """

    world: World
    _kept: dict[Hashable, tuple[float, object]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def status(self) -> WorkStatus:
        """What the receipts say."""
        return self._recent("status", self.world.status)

    def runs(self) -> Runs:
        """All runs, newest first."""
        return self._recent("runs", self.world.runs)

    def left(self, run: str | None) -> Left:
        """What a run left.

        Raises:
            UsageError: there is no such run.
        """
        return self._recent(("left", run), lambda: self._unless_same(run))

    def usual_run(self) -> str | None:
        """The run to look at where nobody names one: the promoted one, else the newest evaluated, else any trained one.

        None while the first one is still trained: settings as they are count then.
        """
        found = self.runs()
        if found.latest is not None:
            return found.latest
        trained = [run for run in found.runs if run.settings]
        return next((run.name for run in [*filter(_evaluated, trained), *trained]), None)

    def _unless_same(self, run: str | None) -> Left:
        found = self.world.left(run)
        _, before = self._kept.get(("left", run), (0.0, None))
        same = isinstance(before, Left) and before.inputs.by_stage() == found.inputs.by_stage()
        return before if same and isinstance(before, Left) else found

    def _recent(self, key: Hashable, look: Callable[[], _Value]) -> _Value:
        with self._lock:
            at, value = self._kept.get(key, (0.0, None))
            if value is None or time.monotonic() - at > _FRESH_S:
                value = look()
                self._kept[key] = (time.monotonic(), value)
        return value  # type: ignore[return-value]  # what the same key gave before


def _evaluated(run: Run) -> bool:
    return bool(run.metrics)
