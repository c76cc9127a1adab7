"""Reads images in processes of their own, so that an image that kills its reader costs itself and nothing else.

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

from pipeline.images.header import Header, inspect
from pipeline.images.on_device import require_decoder
from pipeline.images.problem import ImageProblem
from pipeline.images.ready import ImageRow, PixelOptions, ReadyImage, ready
from schemas.status import ImageStatus

_LENGTH_BYTES = 8


@contextmanager
def decoding_children(count: int, options: PixelOptions) -> Iterator[Callable[[ImageRow], ReadyImage]]:
    """Does what `ready.ready` does, for that many threads; an image whose process dies of it is a `decode_error`.

    Raises:
        PipelineError: the device of `options` decodes nothing.
    """
    if options.jpeg_device is not None:
        require_decoder(options.jpeg_device)
        if options.jpeg_device != "cpu":
            count = 1  # of some hundred MB of a GPU's memory; the threads take turns

    def ready_elsewhere(row: ImageRow) -> ReadyImage:
        try:
            answer: ReadyImage = children.do(ready, row, options)
        except _DiedError as died:
            return ReadyImage(row.image_id, ImageStatus.DECODE_ERROR, f"decoder died ({died})", None)
        return answer

    with _children(count) as children:
        yield ready_elsewhere


@contextmanager
def inspecting_children(count: int) -> Iterator[Callable[[bytes, int], Header]]:
    """Does what `header.inspect` does, for that many threads; bytes whose process dies of them are `not_an_image`."""

    def inspect_elsewhere(data: bytes, max_pixels: int) -> Header:
        try:
            found: Header | tuple[ImageStatus, str] = children.do(_inspected, data, max_pixels)
        except _DiedError as died:
            raise ImageProblem(ImageStatus.NOT_AN_IMAGE, f"broken header: its reader died ({died})") from died
        if isinstance(found, Header):
            return found
        raise ImageProblem(*found)

    with _children(count) as children:
        yield inspect_elsewhere


def _inspected(data: bytes, max_pixels: int) -> Header | tuple[ImageStatus, str]:
    """What `inspect` gives, or what its problem consists of: exceptions do not travel between processes as they are."""
    try:
        return inspect(data, max_pixels)
    except ImageProblem as problem:
        return problem.status, str(problem)


class _DiedError(Exception):
    """The process is gone; the text says how."""


class _Children:
    """Processes that wait for work; started at need, again after one has died, and gone when this process is."""

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        self._count = count
        for _ in range(count):
            self._free.put(None)

    def do(self, function: Callable[..., Any], *arguments: object) -> Any:
        """What a function of a module gives in one of them.

        Raises:
            _DiedError: the process died of it.
        """
        child = self._free.get()
        try:
            if child is None:
                child = _start()
            answer = _ask(child, (function, arguments))
            if answer is None:
                how, child = _end(child), None
                raise _DiedError(how)
            return answer
        finally:
            self._free.put(child)

    def close(self) -> None:
        """End them; none is at work any more."""
        for _ in range(self._count):
            child = self._free.get()
            if child is not None:
                _end(child)


@contextmanager
def _children(count: int) -> Iterator[_Children]:
    children = _Children(count)
    try:
        yield children
    finally:
        children.close()


def _start() -> "subprocess.Popen[bytes]":
    # Not multiprocessing: workers of Dask are daemons, which may have no children of that kind.
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.images.children"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _ask(child: "subprocess.Popen[bytes]", question: tuple[Callable[..., Any], tuple[object, ...]]) -> Any:
    """The answer; None where the process is gone."""
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        _put(child.stdin, question)
    return _take(child.stdout)


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
        function, arguments = question
        _put(sys.stdout.buffer, function(*arguments))


if __name__ == "__main__":
    _serve()
