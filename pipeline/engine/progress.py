"""Progress on stderr: bars on a terminal, a line every 30 s elsewhere."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from schemas.readable import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 30.0


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


class ProgressView:
    """Shows how far each stage is. Of one thread: what others tell, whoever runs the stages hands on.

    Args:
        quiet: show nothing.
        clock: seconds, for the spacing of lines.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._bars = _new_bars() if not quiet and sys.stderr.isatty() else None
        self._tasks: dict[str, TaskID] = {}
        self._states: dict[str, _State] = {}
        self._shown: dict[str, _State] = {}
        self._next_line = clock() + LINE_EVERY_S

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()
        self._line()

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
            self._bars.update(self._tasks[stage], completed=completed, total=total, count=state.count, note=state.note)
        elif self._clock() >= self._next_line:
            self._line()

    def _line(self) -> None:
        self._next_line = self._clock() + LINE_EVERY_S
        news = [(stage, state) for stage, state in self._states.items() if self._shown.get(stage) != state]
        self._shown = dict(self._states)
        if news and not self._quiet and not self._bars:
            texts = (" ".join(filter(None, (stage, state.count, state.note))) for stage, state in news)
            print("; ".join(texts), file=sys.stderr, flush=True)  # noqa: T201 - this is where progress is printed


def _new_bars() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    count, note = (TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("count", "note"))
    columns = (TextColumn("{task.description:<10}"), BarColumn(), count, TimeElapsedColumn(), note)
    return Progress(*columns, console=Console(stderr=True))
