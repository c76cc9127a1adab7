"""Whether a long task should save and stop: a signal has come, or the time budget is used up."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import resource_tracker

from schemas.command import AGAIN
from schemas.errors import InterruptedRunError, PipelineError, TimeBudgetError

_signalled = threading.Event()
_ended: ContextVar[Callable[[], bool]] = ContextVar("ended", default=lambda: False)


@contextmanager
def ending_with(ended: Callable[[], bool]) -> Iterator[None]:
    """In this block, what this thread does should also stop once that is so: when the run it is a part of has ended.

    Of a process that works for several runs one may end alone.
    """
    before = _ended.set(ended)
    try:
        yield
    finally:
        _ended.reset(before)


@contextmanager
def watching_signals() -> Iterator[None]:
    """In this block SIGINT and SIGTERM only set a flag in this process. Main thread only."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: _signalled.set()) for number in numbers}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # a process that was started spared hears them from here on
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _signalled.clear()


@contextmanager
def sparing_children() -> Iterator[None]:
    """Threads and processes started in this block get no SIGINT, unless they come to watch for signals themselves.

    A terminal sends Ctrl-C to all processes of a run, and only the main one knows what is to be saved before they end.
    Blocked and not ignored, because it is inherited: there is no moment at which a young process could die of it.
    """
    resource_tracker.ensure_running()  # started in the block, it would unblock the signal for its thread
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def reason(deadline: float | None) -> PipelineError | None:
    """The error to raise after saving, or None to go on.

    Args:
        deadline: `time.time()` at which the time budget ends.
    """
    if _signalled.is_set() or _ended.get()():
        return InterruptedRunError("interrupted; the same command goes on from here:", run=AGAIN)
    if deadline is not None and time.time() >= deadline:
        return TimeBudgetError("time budget used up; the same command goes on from here:", run=AGAIN)
    return None


def heed(deadline: float | None) -> None:
    """Stop here where there is nothing to save first.

    Args:
        deadline: as `reason` takes it.

    Raises:
        InterruptedRunError: a signal has come.
        TimeBudgetError: the time budget is used up.
    """
    if (why := reason(deadline)) is not None:
        raise why
