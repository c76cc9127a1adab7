"""The one asyncio loop of a worker process, in a thread of its own.

All tasks that the worker runs share it, and with it connections, looked-up names, limits and what hosts asked for.
"""

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

from pipeline.machine import stopping

_STOP_POLL_S = 0.25
_starting = threading.Lock()

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result], deadline: float | None) -> Result:
    """The result of the work, or the reason to stop as soon as there is one.

    Args:
        deadline: `time.time()` at which the time budget ends.

    Raises:
        PipelineError: asked to stop, or the budget is used up; the work has ended.
    """
    with _starting:  # two tasks that come at once would start two
        loop = _loop()
    return asyncio.run_coroutine_threadsafe(_unless_stopped(work, deadline), loop).result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="biam-pipe network", daemon=True).start()
    return loop


async def _unless_stopped(work: Coroutine[Any, Any, Result], deadline: float | None) -> Result:
    task = asyncio.ensure_future(work)
    while not (await asyncio.wait({task}, timeout=_STOP_POLL_S))[0]:
        if (why := stopping.reason(deadline)) is not None:
            task.cancel()
            await asyncio.wait({task})
            raise why
    return task.result()
