"""One writer at a time in a work folder.

The lock is the operating system's (`flock`), so it ends with the process that holds it, however that dies: a stale
lock cannot exist. The file's text only tells people who is writing, and after a run that died who was.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.files.refusals import refusals_named
from pipeline.files.storage import Storage
from schemas.errors import HeldFolderError, PipelineError

_FILE = ".lock"
_TEXT_BYTES = 4096  # many times what is written
_MOST = 2**31 - 1  # no system has a process of a higher number
_CLOCK_S = 2.0  # by which a process may seem younger than what it wrote


@dataclass(frozen=True)
class Writer:
    """Who writes in a work folder, or wrote and ended without a word.

    Attributes:
        pid: of the process.
        host: where it runs.
        since: when it began, ISO 8601.
        alive: whether it still runs; None where that cannot be seen from here.
    """

    pid: int
    host: str
    since: str
    alive: bool | None


def writer(storage: Storage) -> Writer | None:
    """Who holds the work folder of a data set, or held it and did not let go. Takes no lock.

    Returns:
        None where nobody writes, and the last one who did came to an end that it knew of.
    """
    path = storage.local(_FILE)
    with refusals_named(path, "read"):
        if not path.is_file():
            return None
        with path.open("rb") as file:
            found = _written(file.read(_TEXT_BYTES))
    return None if found is None else Writer(**found, alive=_alive(**found))


def _written(text: bytes) -> dict[str, Any] | None:
    """What a lock file says of its writer; None where it says nothing, or nothing that can be read."""
    try:
        found = json.loads(text)
        pid, host = int(found["pid"]), str(found["host"])
        since = datetime.fromisoformat(found["since"]).astimezone(UTC)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):  # empty, half written or damaged
        return None
    if not (0 < pid <= _MOST and host.isprintable()):
        return None
    return {"pid": pid, "host": host, "since": since.isoformat(timespec="seconds")}


def _alive(pid: int, host: str, since: str) -> bool | None:
    """Whether that very process runs: another may have got its number since."""
    import psutil

    if host != socket.gethostname():
        return None
    try:
        started = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, and another user's
        return None
    return started < datetime.fromisoformat(since).timestamp() + _CLOCK_S


@contextmanager
def writing(storage: Storage) -> Iterator[None]:
    """Hold the work folder of one data set.

    Raises:
        HeldFolderError: another process holds it; the text names it.
        PipelineError: nothing can be written there.
    """
    path = storage.local(_FILE)
    with refusals_named(path, "write in"):
        storage.local("").mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise PipelineError(f"{path} is no file, so nobody can hold {storage.root}", hint="Remove it")
        opened = path.open("a+b", buffering=0)
    with opened as file:
        try:
            with refusals_named(path, "lock"):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise HeldFolderError(
                f"{storage.root} is being written by {_holder(file.read(_TEXT_BYTES))}",
                hint="Wait for it, stop it, or use another --work",
            ) from error
        with refusals_named(path):
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}).encode())
        try:
            yield
        finally:
            with suppress(OSError):  # the next writer sees to it; what ended this one is to be told
                file.truncate(0)


def _holder(text: bytes) -> str:
    holder = _written(text)
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}" if holder else "another process"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
