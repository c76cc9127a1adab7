"""Progress on stderr: bars on a terminal, a line every 30 s elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

LINE_EVERY_S = 30.0


class ProgressView:
    """Shows how far each stage is.

    Args:
        quiet: show nothing.
        clock: seconds, for the spacing of lines.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._bars = None
        self._tasks: dict[str, object] = {}
        self._state: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._next_line = clock() + LINE_EVERY_S
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))

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

    def update(self, stage: str, done: int, total: int | None, note: str = "") -> None:
        """Tell how far a stage is.

        Args:
            done: pieces, or steps of one piece.
            total: of those, None where it is not known yet.
        """
        count = f"{done}/{total}" if total is not None else str(done)
        self._state[stage] = f"{stage} {count} {note}".rstrip()
        if self._bars:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total, note=note)
            self._bars.update(self._tasks[stage], completed=done, total=total, note=note)  # type: ignore[arg-type]
        elif self._clock() >= self._next_line:
            self._line()

    def _line(self) -> None:
        self._next_line = self._clock() + LINE_EVERY_S
        news = [text for stage, text in self._state.items() if self._shown.get(stage) != text]
        self._shown = dict(self._state)
        if news and not self._quiet and not self._bars:
            print("; ".join(news), file=sys.stderr, flush=True)  # noqa: T201 - this is where progress is printed
