"""Decodes images in processes of their own, so that an image whose decoding dies costs itself and nothing else.

Slower than threads by the way to another process and back; for a shard whose worker has died before.
"""

import contextlib
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from pipeline.images.ready import ImageRow, PixelOptions, ReadyImage, ready
from schemas.status import ImageStatus

_LENGTH_BYTES = 8


@contextmanager
def decoding_children(count: int, options: PixelOptions) -> Iterator[Callable[[ImageRow], ReadyImage]]:
    """Does what `ready.ready` does, for that many threads; an image whose process dies of it is a `decode_error`."""
    children = _Children(count, options)
    try:
        yield children.ready
    finally:
        children.close()


class _Children:
    """Processes that wait for images; started at need, again after one has died, and gone when this process is."""

    def __init__(self, count: int, options: PixelOptions) -> None:
        self._options = options
        self._free: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        self._count = count
        for _ in range(count):
            self._free.put(None)

    def ready(self, row: ImageRow) -> ReadyImage:
        """The image, or the failure that its row will name."""
        child = self._free.get()
        try:
            if child is None:
                child = _start()
            answer = _ask(child, (row, self._options))
            if answer is None:
                error = f"decoder died ({_end(child)})"
                child = None
                return ReadyImage(row.image_id, ImageStatus.DECODE_ERROR, error, None)
            return answer
        finally:
            self._free.put(child)

    def close(self) -> None:
        """End them; none is at work any more."""
        for _ in range(self._count):
            child = self._free.get()
            if child is not None:
                _end(child)


def _start() -> "subprocess.Popen[bytes]":
    # Not multiprocessing: workers of Dask are daemons, which may have no children of that kind.
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.images.children"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _ask(child: "subprocess.Popen[bytes]", question: tuple[ImageRow, PixelOptions]) -> ReadyImage | None:
    """The answer; None where the process is gone."""
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        _put(child.stdin, question)
    answer: ReadyImage | None = _take(child.stdout)
    return answer


def _end(child: "subprocess.Popen[bytes]") -> str:
    """Close its pipes, of which it ends if it has not, and tell how it did."""
    with contextlib.suppress(BrokenPipeError), child:
        pass
    code = child.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _put(pipe: IO[bytes], message: object) -> None:
    data = pickle.dumps(message)
    pipe.write(len(data).to_bytes(_LENGTH_BYTES, "little"))
    pipe.write(data)
    pipe.flush()


def _take(pipe: IO[bytes]) -> Any:
    """The next message, None where the other side is gone. Both ends are this program: what comes is its own."""
    length = int.from_bytes(pipe.read(_LENGTH_BYTES), "little")
    data = pipe.read(length)
    return pickle.loads(data) if length and len(data) == length else None  # noqa: S301


def _serve() -> None:
    """Answer until nobody asks any more."""
    while (question := _take(sys.stdin.buffer)) is not None:
        row, options = question
        _put(sys.stdout.buffer, ready(row, options))


if __name__ == "__main__":
    _serve()
