"""Progress on stderr: bars on a terminal, lines with clock times every 30 s elsewhere; and the same in a run's log."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from schemas.errors import PipelineError
from schemas.readable import printable, rough_duration_text
from schemas.receipts import BOUND, Receipt

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pipeline.engine.events import RunLog

LINE_EVERY_S = 30.0
OFTEN_S = 5.0  # where somebody wants to know more

_SURE = 0.02  # of a task, before its pace says how long the rest will take


@dataclass(frozen=True)
class _State:
    """How far a stage is.

    Attributes:
        done: tasks that are done.
        total: of those, None where it is not known yet.
        note: what a task under way last said of itself.
        share: how much of that task is done, None where it does not know.
    """

    done: int
    total: int | None
    note: str = ""
    share: float | None = None

    @property
    def count(self) -> str:
        """`3/11`; nothing where one task is all there is, and says more of itself."""
        return "" if self.total is None or (self.total == 1 and self.note) else f"{self.done}/{self.total}"

    @property
    def bar(self) -> tuple[float, float | None]:
        """How far the bar is, and where it ends, in tasks. Of one task it shows the share."""
        if self.share is None or self.total not in (None, 1):
            return self.done, self.total
        return min(self.share, 0.99), 1  # a task is done when its receipt is there, whatever it said


@dataclass
class _Pace:
    """What a stage came to in this run.

    Attributes:
        since: when its first task began, in seconds of the view's clock.
        images: whether its rows are images, shard by shard.
        tasks: that ended.
        rows: of those.
        bound: seconds that they spent, by what on.
        under_way: tasks that began and did not end yet.
        idle_s: in which none was under way.
        idle_since: when the last one ended; None while one is under way.
    """

    since: float
    images: bool
    tasks: int = 0
    rows: int = 0
    bound: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    idle_s: float = 0.0
    idle_since: float | None = None

    def begin(self, now: float) -> None:
        """Count a task that begins."""
        if self.idle_since is not None:
            self.idle_s += now - self.idle_since
        self.idle_since, self.under_way = None, self.under_way + 1

    def end(self, now: float) -> None:
        """Count a task that ended."""
        self.tasks, self.under_way = self.tasks + 1, max(0, self.under_way - 1)
        if not self.under_way:
            self.idle_since = now

    def waits(self, now: float) -> bool:
        """Whether most of the time nothing was under way: what comes before is slower."""
        idle_s = self.idle_s + (0.0 if self.idle_since is None else now - self.idle_since)
        return self.images and idle_s > (now - self.since) / 2

    def rate(self, now: float) -> float | None:
        """Images a second; None of a stage without shards, and before the first one is done."""
        return self.rows / (now - self.since) if self.images and self.rows and now > self.since else None

    def left_s(self, state: _State, now: float) -> float | None:
        """Seconds until all tasks are done, if they go on as they went; None where nobody knows yet, or none is left.

        Tasks side by side are counted as they end, so that the first ones make it look longer than it is.
        """
        passed = now - self.since
        if state.total is not None and state.done >= state.total:
            return None
        if self.tasks and state.total is not None:
            return passed / self.tasks * (state.total - state.done)
        if state.total in (None, 1) and state.share is not None and _SURE < state.share < 1:
            return passed * (1 - state.share) / state.share
        return None

    @property
    def bound_by(self) -> str | None:
        """What took most of the time; None where no task says."""
        return max(self.bound, key=self.bound.__getitem__) if self.bound.total() else None


class ProgressView:
    """Shows how far each stage is. Of one thread: what others tell, whoever runs the stages hands on.

    Args:
        quiet: show nothing.
        verbose: a line for each task that ends, and others more often.
        log: takes what is shown, whether it is or not, and each task that begins and ends.
        clock: seconds, for the spacing of lines.
        now: the time of day before a line.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        log: "RunLog | None" = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
    ) -> None:
        self._quiet, self._verbose, self._log = quiet, verbose, log
        self._clock, self._now = clock, now
        self._every_s = OFTEN_S if verbose else LINE_EVERY_S
        self._bars = _new_bars() if not quiet and sys.stderr.isatty() else None
        self._tasks: dict[str, TaskID] = {}
        self._states: dict[str, _State] = {}
        self._shown: dict[str, _State] = {}
        self._paces: dict[str, _Pace] = {}
        self._next_line = clock() + self._every_s

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()
        with (
            suppress(PipelineError) if kind else nullcontext()
        ):  # what ended the run is to be told, not the log's fault
            self._line()

    def began(self, stage: str, shard: int | None, *, images: bool) -> None:
        """Say that a task begins.

        Args:
            images: whether the stage has a task a shard, whose rows are images.
        """
        now = self._clock()
        self._paces.setdefault(stage, _Pace(now, images)).begin(now)
        if self._log:
            self._log.event("began", stage=stage, shard=shard)

    def ended(self, stage: str, receipts: Collection[Receipt]) -> None:
        """Say that a task ended, and what it came to."""
        now = self._clock()
        pace = self._paces.setdefault(stage, _Pace(now, images=False))
        pace.end(now)
        for receipt in receipts:
            pace.rows += receipt.rows if receipt.shard is not None else 0
            pace.bound.update(receipt.facts.get(BOUND, {}))
            self._tell_ended(receipt)

    def _tell_ended(self, receipt: Receipt) -> None:
        counts = ", ".join(f"{name} {count}" for name, count in receipt.counts.items())
        shard = "" if receipt.shard is None else f" shard {receipt.shard}"
        text = f"{receipt.stage}{shard} done in {receipt.seconds:.1f} s, {receipt.rows} rows"
        text += f" ({counts})" if counts else ""
        if self._log:
            self._log.event(
                "done",
                stage=receipt.stage,
                shard=receipt.shard,
                seconds=receipt.seconds,
                rows=receipt.rows,
                counts=receipt.counts,
                size_bytes=receipt.size_bytes,
                **{BOUND: receipt.facts.get(BOUND)},
            )
            self._log.line(text)
        if self._verbose:
            self._print(text)

    def update(self, stage: str, done: int, total: int | None) -> None:
        """Say how many tasks of a stage are done; what one of them said of itself is over.

        Args:
            total: tasks in all, None where it is not known yet.
        """
        self._show(stage, _State(done, total))

    def tell(self, stage: str, done: int, total: int | None, text: str) -> None:
        """Say how far a task under way is, as `machine.telling.tell` has it."""
        before = self._states.get(stage, _State(0, None))
        self._show(stage, _State(before.done, before.total, printable(text), done / total if total else None))

    def _show(self, stage: str, state: _State) -> None:
        self._states[stage] = state
        if self._bars:
            completed, total = state.bar
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total, count="", note="")
            note = ", ".join(filter(None, (state.note, self._pace_text(stage, state))))
            self._bars.update(self._tasks[stage], completed=completed, total=total, count=state.count, note=note)
        if self._clock() >= self._next_line:
            self._line()

    def _pace_text(self, stage: str, state: _State) -> str:
        """`410 images/s, 12 s left, bound by decoding`, as far as that is known."""
        if (pace := self._paces.get(stage)) is None:
            return ""
        now = self._clock()
        rate, left_s = pace.rate(now), pace.left_s(state, now)
        told = [f"{rate:.{0 if rate >= 9.95 else 2}f} images/s"] if rate is not None else []
        told += [f"{rough_duration_text(left_s)} left"] if left_s is not None and "left" not in state.note else []
        bound_by = self._bound_by(stage, now)
        told += [f"bound by {bound_by}"] if bound_by is not None else []
        return ", ".join(told)

    def _bound_by(self, stage: str, now: float) -> str | None:
        """What holds a stage up: what its tasks spend their time on, or what those do that it waits for."""
        pace = self._paces[stage]
        busy = [other for name, other in self._paces.items() if name != stage and other.images and other.under_way]
        if pace.tasks and pace.waits(now):
            return next((other.bound_by for other in busy if other.bound_by is not None), pace.bound_by)
        return pace.bound_by

    def _line(self) -> None:
        self._next_line = self._clock() + self._every_s
        news = [(stage, state) for stage, state in self._states.items() if self._shown.get(stage) != state]
        self._shown = dict(self._states)
        for stage, state in news:
            head = " ".join(filter(None, (stage, state.count, state.note)))
            text = ", ".join(filter(None, (head, self._pace_text(stage, state))))
            if not self._bars:
                self._print(text)
            self._log_progress(stage, state, text)

    def _log_progress(self, stage: str, state: _State, text: str) -> None:
        if self._log is None:
            return
        pace, now = self._paces.get(stage), self._clock()
        rate, left_s = (None, None) if pace is None else (pace.rate(now), pace.left_s(state, now))
        self._log.line(text)
        self._log.event(
            "progress",
            stage=stage,
            done=state.done,
            total=state.total,
            share=None if state.share is None else round(state.share, 4),
            images_per_s=None if rate is None else round(rate, 3),
            left_s=None if left_s is None else round(left_s, 1),
            bound_by=None if pace is None else self._bound_by(stage, now),
            note=state.note or None,
        )

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        if self._bars:
            self._bars.console.print(f"{self._now()} {text}", markup=False, highlight=False)
        else:
            print(f"{self._now()} {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is where it is printed


def _new_bars() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    count, note = (TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("count", "note"))
    columns = (TextColumn("{task.description:<10}"), BarColumn(), count, TimeElapsedColumn(), note)
    return Progress(*columns, console=Console(stderr=True))
