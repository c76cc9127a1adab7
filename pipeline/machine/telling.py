"""How far a long task is: told where the work is done, heard by whoever runs it, whatever process that is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Channel = Callable[[int, int | None, str], None]

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
