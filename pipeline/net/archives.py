"""Files out of tar.gz archives that lie on a server: streamed, nothing unpacked to disk.

An archive is read once, from its start to its end, by each process that wants something of it: there is no way into the
middle of a gzip stream. It is as fast as the archive's order fits that of the rows. Names in it are keys, never paths.
Members carry no checksum: that bytes were damaged on the server may show at the end of the archive only.
"""

import asyncio
import gzip
import tarfile
import threading
from collections import OrderedDict
from contextlib import closing
from pathlib import PurePosixPath

from pipeline.files.damages import DAMAGES
from pipeline.net.answer import Answer
from pipeline.net.long_body import BrokenBodyError, LongBody
from pipeline.net.networks import Networks
from schemas.config import DownloadConfig
from schemas.status import ImageStatus

_WINDOW_BYTES = 256 * 2**20  # of one process: 900 images of the bucket, many times the rows that are in flight
_ENTRY_BYTES = 1024  # what a member costs beside its bytes
_SORTED_MEMBERS = 16  # so many in a row: by chance, one in 16! = 2e13
_HEADER_BYTES = 2**20  # more than a long name or a list of attributes takes
_PADDING_BYTES = 2**20  # after the last member; tar writes 10 kB at most

_ABSENT = Answer(ImageStatus.NOT_FOUND, error="not in the archive, or passed by before it was asked for")
_LATE = Answer(ImageStatus.TIMEOUT, error="the archive did not come to it within the time of this location")
_TRUNCATED = Answer(ImageStatus.TRUNCATED_BODY, error="the archive ended before its end")
_DAMAGED = Answer(ImageStatus.HTTP_ERROR, error="the archive is no tar.gz, or damaged")


class Archives:
    """The archives that a process reads. To be made and asked in a loop's thread; each archive has a thread of its own.

    Args:
        window_bytes: of members that came by before somebody asked for them; beyond it the oldest are dropped.
    """

    def __init__(self, config: DownloadConfig, networks: Networks, window_bytes: int = _WINDOW_BYTES) -> None:
        self._config = config
        self._networks = networks
        self._window = _Window(window_bytes)
        self._archives: dict[str, _Archive] = {}

    async def member(self, address: str, name: str, budget_s: float) -> Answer:
        """A member of an archive, once. Never raises for what a server does.

        The archive goes on only while somebody waits, and then whatever comes by is kept for others. What has been
        dropped is not there at once, and neither is what a sorted archive has passed. What does not come by in time is
        a timeout, while the archive goes on: in a run that was resumed, rows are, until the archive has caught up.

        An archive that ended before its time keeps its fault for as long as the process lives.

        Args:
            name: without its folder.
        """
        loop = asyncio.get_running_loop()
        if address not in self._archives:
            self._archives[address] = _Archive(self._config, loop, self._window)
            body = LongBody(address, self._config, self._networks)
            work = self._archives[address].read
            threading.Thread(target=work, args=(body,), name="biam-pipe archive", daemon=True).start()
        archive = self._archives[address]
        asked = archive.ask(name)
        try:
            await asyncio.wait({asked}, timeout=max(0.0, budget_s))
            return asked.result() if asked.done() else _LATE
        finally:
            archive.leave(asked)


class _Window:
    """Members that nobody has asked for yet, up to so many bytes; shared by the threads of all archives."""

    def __init__(self, size_bytes: int) -> None:
        self._left_bytes = size_bytes
        self._members: OrderedDict[tuple[_Archive, str], Answer] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, archive: "_Archive", name: str, answer: Answer) -> None:
        with self._lock:
            if (archive, name) not in self._members:
                self._members[archive, name] = answer
                self._left_bytes -= len(answer.data) + _ENTRY_BYTES
            while self._left_bytes < 0:
                self._left_bytes += len(self._members.popitem(last=False)[1].data) + _ENTRY_BYTES

    def take(self, archive: "_Archive", name: str) -> Answer | None:
        with self._lock:
            if (answer := self._members.pop((archive, name), None)) is not None:
                self._left_bytes += len(answer.data) + _ENTRY_BYTES
            return answer


class _Archive:
    """One archive: who waits for what, and how far it has been read."""

    def __init__(self, config: DownloadConfig, loop: asyncio.AbstractEventLoop, window: _Window) -> None:
        self._config = config
        self._loop = loop
        self._window = window
        self._waiting: dict[asyncio.Future[Answer], str] = {}
        self._changed = threading.Condition()  # guards what follows, and who waits
        self._passed: set[str] = set()  # 100 bytes a member: 11 MB for a sixteenth of Open Images
        self._last = ""
        self._sorted = True
        self._end: Answer | None = None  # for what has not come by when it ended

    def ask(self, name: str) -> "asyncio.Future[Answer]":
        asked = self._loop.create_future()
        with self._changed:
            known = self._window.take(self, name) or self._end or (_ABSENT if self._is_behind(name) else None)
            if known is not None:
                asked.set_result(known)
            else:
                self._waiting[asked] = name
                self._changed.notify()
        return asked

    def leave(self, asked: "asyncio.Future[Answer]") -> None:
        with self._changed:
            self._waiting.pop(asked, None)

    def read(self, body: LongBody) -> None:
        """Hand out all members; the work of a thread. Whatever happens, nobody is left to wait for it."""
        end = _DAMAGED
        try:
            end = self._read(body)
        finally:
            with self._changed:
                self._end = end
                self._passed.clear()
                for asked in list(self._waiting):
                    self._answer(asked, end)

    def _read(self, body: LongBody) -> Answer:
        """The answer for what has not come by."""
        try:
            with closing(body), _Unpacked(None, "rb", fileobj=body) as unpacked:
                unpacked.limit_bytes = self._config.max_bytes + _HEADER_BYTES
                self._hand_out_all(unpacked)
        except BrokenBodyError as error:
            return error.answer
        except EOFError:
            return _TRUNCATED
        except (*DAMAGES, tarfile.TarError):  # RecursionError, too: of headers that are all about the next one
            return _DAMAGED
        return _ABSENT

    def _hand_out_all(self, unpacked: "_Unpacked") -> None:
        # Not mode "r|", which compares no checksum and takes a gzip stream that breaks off for one that ends.
        with tarfile.open(fileobj=unpacked, mode="r:") as tar:
            while (member := tar.next()) is not None:  # before waiting, so that the last is known to be the last
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps all headers: 0.1 GB for 100,000
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting)
                if member.isreg():
                    self._hand_out(PurePosixPath(member.name).name, self._content(tar, member))
        if unpacked.read(_PADDING_BYTES).strip(b"\0"):
            raise tarfile.ReadError("something that is no member")

    def _content(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Answer:
        if member.size > self._config.max_bytes:
            error = f"more bytes than download.max_bytes = {self._config.max_bytes}"
            return Answer(ImageStatus.TOO_LARGE, error=error)
        file = tar.extractfile(member)
        assert file is not None
        return Answer(ImageStatus.OK, data=file.read())

    def _hand_out(self, name: str, answer: Answer) -> None:
        with self._changed:
            self._sorted = self._sorted and name >= self._last
            self._last = name
            self._passed.add(name)
            wanted = False
            for asked, one in list(self._waiting.items()):
                if one == name:
                    self._answer(asked, answer)
                    wanted = True
                elif self._is_behind(one):
                    self._answer(asked, _ABSENT)
            if not wanted:
                self._window.put(self, name, answer)

    def _is_behind(self, name: str) -> bool:
        """Whether a name will not come any more."""
        return name in self._passed or (self._sorted and len(self._passed) >= _SORTED_MEMBERS and name < self._last)

    def _answer(self, asked: "asyncio.Future[Answer]", answer: Answer) -> None:
        del self._waiting[asked]
        self._loop.call_soon_threadsafe(_settle, asked, answer)


def _settle(asked: "asyncio.Future[Answer]", answer: Answer) -> None:
    if not asked.done():
        asked.set_result(answer)


class _Unpacked(gzip.GzipFile):
    """The archive without its gzip; refuses to hand out more at once than a member may have, whatever a header says."""

    limit_bytes = _HEADER_BYTES

    def read(self, size: int | None = -1) -> bytes:
        """At most so many of the next bytes."""
        if size is not None and size > self.limit_bytes:
            raise tarfile.ReadError(f"{size} bytes, expected {self.limit_bytes} at most")
        return super().read(size)
