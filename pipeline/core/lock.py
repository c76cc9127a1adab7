"""One writer at a time in a work folder.

The lock is the operating system's (`flock`), so it ends with the process that holds it, however that dies: a stale
lock cannot exist. The file's text only tells people who is writing.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import PipelineError

_FILE = ".lock"


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the work folder of one data set.

    Raises:
        PipelineError: another process holds it (the text names it), or nothing can be written there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        opened = (root / _FILE).open("a+")
    except OSError as error:
        raise PipelineError(f"cannot write in {root}: {error.strerror}. Use another --work") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise PipelineError(
                f"{root} is being written by {_holder(file.read())}. Wait for it, stop it, or use another --work"
            ) from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        file.flush()
        yield
        file.truncate(0)


def _holder(text: str) -> str:
    if not text:
        return "another process"
    holder = json.loads(text)
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
