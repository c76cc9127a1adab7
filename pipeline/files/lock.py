"""One writer at a time in a work folder.

The lock is the operating system's (`flock`), so it ends with the process that holds it, however that dies: a stale
lock cannot exist. The file's text only tells people who is writing, and after a run that died who was.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.files.storage import Storage
from schemas.errors import PipelineError

_FILE = ".lock"
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
    found = _written(path.read_text(errors="replace") if path.exists() else "")
    return None if found is None else Writer(**found, alive=_alive(**found))


def _written(text: str) -> dict[str, Any] | None:
    """What a lock file says of its writer; None where it says nothing, or nothing that can be read."""
    try:
        found = json.loads(text)
        since = datetime.fromisoformat(found["since"]).astimezone(UTC)
        return {"pid": int(found["pid"]), "host": str(found["host"]), "since": since.isoformat(timespec="seconds")}
    except (ValueError, TypeError, LookupError, OverflowError):  # empty, half written or damaged
        return None


def _alive(pid: int, host: str, since: str) -> bool | None:
    """Whether that very process runs: another may have got its number since."""
    import psutil

    if host != socket.gethostname():
        return None
    try:
        started = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return started < datetime.fromisoformat(since).timestamp() + _CLOCK_S


@contextmanager
def writing(storage: Storage) -> Iterator[None]:
    """Hold the work folder of one data set.

    Raises:
        PipelineError: another process holds it (the text names it), or nothing can be written there.
    """
    try:
        storage.local("").mkdir(parents=True, exist_ok=True)
        opened = storage.local(_FILE).open("a+", errors="replace")
    except OSError as error:
        raise PipelineError(f"cannot write in {storage.root}: {error.strerror}", hint="Use another --work") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise PipelineError(
                f"{storage.root} is being written by {_holder(file.read())}",
                hint="Wait for it, stop it, or use another --work",
            ) from error
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> str:
    holder = _written(text)
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}" if holder else "another process"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
