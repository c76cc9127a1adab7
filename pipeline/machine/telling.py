"""How far a long task is: told where the work is done, heard by whoever runs it, whatever process that is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Channel = Callable[[int, int | None, str], None]

TELL_EVERY_S = 0.5

_channel: ContextVar[Channel | None] = ContextVar("channel", default=None)


@contextmanager
def heard_by(channel: Channel) -> Iterator[None]:
    """In this block, what this thread tells goes to the channel: how much is done, of how much, and a few words."""
    before = _channel.set(channel)
    try:
        yield
    finally:
        _channel.reset(before)


def tell(done: int, total: int | None, text: str = "") -> None:
    """Say how far the task of this thread is; nothing happens where nobody listens.

    Args:
        done: rows, bytes or steps, as the text says.
        total: of those, None where it is not known.
        text: a few words for people, such as "1.2 of 9.0 million rows".
    """
    if (channel := _channel.get()) is not None:
        channel(done, total, text)


@contextmanager
def throttled(channel: Channel, clock: Callable[[], float] = time.monotonic) -> Iterator[Channel]:
    """A channel that passes on what it hears every half second at most, however often it is told something.

    That all is done goes through at once, and what was held back last when the block ends: the last word is heard.

    Args:
        clock: seconds.
    """
    next_s, held = clock(), None

    def pass_on(done: int, total: int | None, text: str) -> None:
        nonlocal next_s, held
        if clock() < next_s and done != total:
            held = (done, total, text)
            return
        next_s, held = clock() + TELL_EVERY_S, None
        channel(done, total, text)

    yield pass_on
    if held is not None:
        channel(*held)


def counted(done: int, total: int | None, unit: str) -> str:
    """`3.2 of 9.0 million rows`, `512 of 1,024 rows`, or `512 rows` where nobody knows of how many."""
    numbers = [done] if total is None else [done, total]
    if max(numbers) < 1_000_000:
        return f"{' of '.join(f'{number:,}' for number in numbers)} {unit}"
    return f"{' of '.join(f'{number / 1e6:.1f}' for number in numbers)} million {unit}"
