"""Results of a slow function, worked out by threads ahead of whoever takes them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, limit: int, *, name: str = "ahead"
) -> Iterator[Iterator[Result]]:
    """An iterator over the results in the order of the items, at most `limit` of them waiting or under way.

    An exception of the function comes out in its item's place. Leaving the block early drops what has not begun. The
    items are taken by the thread that takes the results, so they may come from another block like this.

    Args:
        name: of the threads, for whoever looks at them.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix=f"biam-pipe {name}") as pool:
        try:
            yield _in_order(pool, function, items, limit)
        finally:
            pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], limit: int
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= limit:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
