"""Whether a long piece of work should save and stop: a signal has come, or the time budget is used up."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import InterruptedRunError, PipelineError, TimeBudgetError

_signalled = threading.Event()


@contextmanager
def watching_signals() -> Iterator[None]:
    """In this block SIGINT and SIGTERM only set a flag in this process. Main thread only."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: _signalled.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _signalled.clear()


def reason(deadline: float | None) -> PipelineError | None:
    """The error to raise after saving, or None to go on.

    Args:
        deadline: `time.time()` at which the time budget ends.
    """
    if _signalled.is_set():
        return InterruptedRunError("interrupted; the same command goes on from here")
    if deadline is not None and time.time() >= deadline:
        return TimeBudgetError("time budget used up; the same command goes on from here")
    return None
