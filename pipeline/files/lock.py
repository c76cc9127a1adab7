"""One writer at a time in a work folder.

The lock is the operating system's (`flock`), so it ends with the process that holds it, however that dies: on one host
a stale lock cannot exist. Some network disks keep such locks to one host. So the file is also a lease: its text names
the writer and its run, and its time stamp is renewed every few seconds while the run lives. A writer on another host
looks at it for a while before it takes the folder: who renews is alive, whatever clocks say.
"""

import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import FileIO
from typing import Any

from pipeline.files.lease import LEASE, SLICES, Guard
from pipeline.files.refusals import refusals_named
from pipeline.files.storage import Storage
from schemas.errors import HeldFolderError, PipelineError

_TEXT_BYTES = 4096  # many times what is written
_MOST = 2**31 - 1  # no system has a process of a higher number
_CLOCK_S = 2.0  # by which a process may seem younger than what it wrote
_RENEWED_S = 3.0
_SILENT_S = 15.0  # a run that has not renewed its lease for so long is dead, or cut off from the disk

_log = logging.getLogger("biam_pipe.lock")


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
    path = storage.local(LEASE)
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


@dataclass(frozen=True)
class Lease:
    """The right to change a work folder, as long as the run has not ended.

    Attributes:
        storage: of the folder, whose commits are compared with the lease, on whatever host.
        file: open, and locked.
    """

    storage: Storage
    file: FileIO

    def end(self) -> None:
        """From here on nothing is committed, by whatever is still under way anywhere.

        Where the folder is another's by now, its lease stays as it is: that one would commit nothing any more, either.
        """
        with suppress(OSError, PipelineError):  # the next writer sees to it; what ended this one is to be told
            for guard in self.storage.guards:
                guard.require(self.storage.root)
            self.file.truncate(0)


@contextmanager
def writing(storage: Storage) -> Iterator[Lease]:
    """Hold the work folder of one data set.

    Raises:
        HeldFolderError: another process holds it; the text names it.
        PipelineError: nothing can be written there.
    """
    path = storage.local(LEASE)
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
            raise _held(storage) from error
        if (before := writer(storage)) is not None and before.host != socket.gethostname():
            _outwait(storage, before)
        run = uuid.uuid4().hex
        told = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now(), "run": run}
        with refusals_named(path):
            file.truncate(0)
            file.write(json.dumps(told).encode())
        lease = Lease(replace(storage, guards=(Guard(LEASE, run),)), file)
        with _renewing(file):
            try:
                yield lease
            finally:
                lease.end()


@contextmanager
def _renewing(file: FileIO) -> Iterator[None]:
    """Meanwhile the lease is renewed."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(_RENEWED_S):
            with suppress(OSError):  # a disk that is gone for a while: whoever commits is told
                os.utime(file.fileno())

    renewing = threading.Thread(target=renew, name="biam-pipe lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()


def _outwait(storage: Storage, before: Writer) -> None:
    """See that a writer on another host, whose lock may not reach here, is dead.

    Raises:
        HeldFolderError: it renews its lease.
    """
    _log.warning("%s was held by process %d on %s: looking whether it lives", storage.root, before.pid, before.host)
    seen, until = _renewed_ns(storage), time.monotonic() + _SILENT_S
    while time.monotonic() < until:
        time.sleep(min(1.0, _SILENT_S / 4))
        if _renewed_ns(storage) != seen:
            raise _held(storage)


def _renewed_ns(storage: Storage) -> int:
    """When the lease was renewed last, by the clock of whoever keeps the disk."""
    with storage.local(LEASE).open("rb") as file:  # to open it brings what a network disk remembers up to date
        return os.fstat(file.fileno()).st_mtime_ns


def _held(storage: Storage) -> HeldFolderError:
    """The error that names who holds a folder, or the first who holds some of its shards."""
    holder = writer(storage) or next(_slice_writers(storage), None)
    named = f"process {holder.pid} on {holder.host} since {holder.since}" if holder else "another process"
    return HeldFolderError(
        f"{storage.root} is being written by {named}", hint="Wait for it, stop it, or use another --work"
    )


def _slice_writers(storage: Storage) -> Iterator[Writer]:
    for folder in sorted(storage.local(SLICES).glob("*/")):
        if (holder := writer(Storage(str(folder)))) is not None and holder.alive is not False:
            yield holder


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
