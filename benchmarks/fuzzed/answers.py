"""Answers of servers as bytes on the wire: to the client of images, to that of official files, and archives.

A server on loopback plays what it is given, then closes the connection, or keeps it and says no more. Each case also
asks for a sound picture afterwards, over whatever connections are left: what one server sends must harm no neighbour.
A second address, which no setting allows, is never to be asked.
"""

import asyncio
import gzip
import hashlib
import io
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path

from benchmarks.fault_server import picture
from benchmarks.fuzzed.changes import Kind
from pipeline.net.answer import Answer
from pipeline.net.client import Client
from pipeline.net.fetch import fetch, fetching
from schemas.config import DownloadConfig
from schemas.errors import PipelineError
from schemas.status import ImageStatus

BODY = b"".join(bytes([place % 251]) for place in range(2000))
GOOD = picture()
MEMBERS = {f"train_0/{number}.jpg": picture(number) for number in range(5)}
CONFIG = DownloadConfig(
    attempts=2, backoff_s=0.001, timeout_s=0.5, connect_timeout_s=0.5, max_bytes=100_000,
    allowed_networks=("127.0.0.1/32",),
)  # fmt: skip
_BUDGET_S = 0.5
_MORE_S = 1.5  # that a case may take beside: the connection that a neighbour wants anew, and a busy machine
_WORDS = (
    b"\r\n", b"\n", b"\r\n\r\n", b"\0", b":", b"chunked", b"gzip", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"Connection: close\r\n", b"9" * 20, b"-1", b"ffffffffffffffff", b"0\r\n\r\n", b"Location: /good\r\n", b"302",
    b"206", b"Content-Range: bytes 0-", b"bytes */0", b"\t", b" ", b"\x1b[2J",
)  # fmt: skip
_HELD = 32  # one connection in so many is kept open, whatever was sent
_LONG_S = 20.0  # two attempts of a long body; libcurl sees only after seven seconds that nothing comes any more


@dataclass
class Player:
    """A server that says what it is told to.

    Attributes:
        raw: what any path but `/good` is answered with, to the byte.
        mended: whether every path is answered with the body as it should be.
        intruded: requests that came to the address that nobody may ask.
    """

    raw: bytes = b""
    mended: bool = False
    intruded: int = 0
    port: int = 0

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def run(self, started: threading.Event, stop: "Future[Callable[[], object]]") -> None:
        """Serve until what `stop` gets is called."""
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as first:
            self.port = first.sockets[0].getsockname()[1]
            async with await asyncio.start_server(self._serve, "127.0.0.2", self.port):
                stop.set_result(lambda: loop.call_soon_threadsafe(over.set))
                started.set()
                await over.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        ends = ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError
        with suppress(*ends), closing(writer):
            open_still = True
            while open_still:
                head = await reader.readuntil(b"\r\n\r\n")
                if writer.get_extra_info("sockname")[0] != "127.0.0.1":
                    self.intruded += 1
                if b" /good" in head.split(b"\r\n")[0]:
                    writer.write(_headed(GOOD))
                elif self.mended:
                    writer.write(_headed(BODY, b'ETag: "1"\r\n'))
                else:
                    raw = self.raw
                    middle = len(raw) // 2
                    writer.write(raw[:middle])
                    await asyncio.sleep(0)
                    writer.write(raw[middle:])
                    open_still = zlib.crc32(raw) % _HELD == 0
                await writer.drain()


@contextmanager
def playing() -> Iterator[Player]:
    """The server, for as long as the block lasts."""
    player, started, stop = Player(), threading.Event(), Future[Callable[[], object]]()
    thread = threading.Thread(target=lambda: asyncio.run(player.run(started, stop)))
    thread.start()
    started.wait()
    try:
        yield player
    finally:
        stop.result()()
        thread.join()


def answer_seeds(body: bytes, port: int) -> list[bytes]:
    """Whole answers of all sorts, sound and odd."""
    half = len(body) // 2
    chunks = b"%x\r\n%b\r\n%x;a=b\r\n%b\r\n0\r\n" % (half, body[:half], len(body) - half, body[half:])
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    length = b"Content-Length: %d\r\n" % len(body)
    elsewhere = (
        b"/good", b"good/../a?b#c", b"//127.0.0.1:%d/good", b"http://127.0.0.2:%d/", b"http://[::1]:%d/",
        b"file:///etc/", b"ftp://127.0.0.1:%d/", b"http://169.254.169.254/", b"http://a@127.0.0.2:%d/",
        b"/caf\xc3\xa9", b"/caf\xe9", b"", b"http://2130706434:%d/", b"/x", b"gopher://127.0.0.2:%d/", b"http://127.0.0.1:%d@127.0.0.2/",
        b"\\\\127.0.0.2\\",
    )  # fmt: skip
    redirects = [
        b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (code, place.replace(b"%d", b"%d" % port))
        for code, place in zip((301, 302, 303, 307, 308) * 4, elsewhere, strict=False)
    ]
    more = (
        b"Content-Encoding: gzip\r\n", b"Content-Encoding: none\r\n", b"Retry-After: 0\r\n", b"X-Robots-Tag: noai\r\n",
        b"Content-Length: 10\r\n", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n", b"X: a\r\n folded\r\n",
        b"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", b"X: " + b"a" * 5000 + b"\r\n",
        b"Content-Range: bytes 0-1/2\r\n", b'ETag: W/"1"\r\n', b'ETag: "1"\r\nAccept-Ranges: bytes\r\n',
        b"Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n",
    )  # fmt: skip
    codes = (
        203,
        204,
        205,
        206,
        226,
        300,
        304,
        400,
        401,
        403,
        404,
        407,
        408,
        410,
        416,
        421,
        425,
        429,
        451,
        500,
        503,
        999,
    )
    interim = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: <a>\r\n\r\n"
    return [
        _headed(body),
        chunked + b"\r\n",
        chunked + b"Content-Encoding: gzip\r\nX-Robots-Tag: noai\r\n\r\n",
        interim + _headed(body),
        b"HTTP/1.1 100 Continue\r\n\r\n" + interim * 20 + chunked + b"\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n" + body,
        interim,
        b"HTTP/1.0 200 OK\r\n\r\n" + body,
        b"HTTP/1.1 200\n" + length.replace(b"\r", b"") + b"\n" + body,
        b"ICY 200 OK\r\n\r\n" + body,
        b"HTTP/2 200\r\n" + length + b"\r\n" + body,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        _headed(body) + _headed(b"of nobody"),
        _headed(body, b"Content-Length: 10\r\n"),
        b"",
        body,
        *redirects,
        *(_headed(body, line) for line in more),
        *(b"HTTP/1.1 %d Said\r\n%b\r\n%b" % (code, length, body) for code in codes),
    ]


@contextmanager
def client_kinds(folder: Path) -> Iterator[dict[str, Callable[[], Kind]]]:
    """Answers to the client of images and to that of official files, 3,000 together, and archives."""
    with playing() as player, asyncio.Runner() as runner:
        yield _kinds(player, runner, folder)


def _kinds(player: Player, runner: asyncio.Runner, folder: Path) -> dict[str, Callable[[], Kind]]:
    return {
        "answers, images": lambda: Kind(
            answer_seeds(GOOD, player.port), _Images(player, runner), 2000, _WORDS, _BUDGET_S + _MORE_S
        ),
        "answers, official files": lambda: Kind(
            answer_seeds(BODY, player.port), _official(player, folder), 1000, _WORDS, _LONG_S
        ),
        "tar": lambda: Kind(tar_seeds(), _Archive(player, gzip.compress), 1000, (), 10.0),
        "tar.gz": lambda: Kind([gzip.compress(seed) for seed in tar_seeds()], _Archive(player, bytes), 500, (), 10.0),
    }


def tar_seeds() -> list[bytes]:
    """Archives of a few pictures in every form that tar has, and one whose headers are all about the next header."""
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as tar:
            for name, data in MEMBERS.items():
                member = tarfile.TarInfo(name if form == tarfile.USTAR_FORMAT else "long/" * 30 + name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        found.append(out.getvalue())
    link = tarfile.TarInfo("././@LongLink")
    link.type, link.size = tarfile.GNUTYPE_LONGNAME, 2
    about = link.tobuf() + b"a\0".ljust(tarfile.BLOCKSIZE, b"\0")
    return [*found, about * 500 + found[0]]


class _Images:
    """The answer to a request for an image, and to that for its neighbour."""

    def __init__(self, player: Player, runner: asyncio.Runner) -> None:
        self._player = player
        self._runner = runner
        self._client: Client | None = None

    def __call__(self, raw: bytes) -> str:
        return self._runner.run(self._asked(raw))

    async def _asked(self, raw: bytes) -> str:
        self._player.raw = raw
        client = self._client = self._client or Client(CONFIG, 8)
        answer = await client.fetch(f"{self._player.base}/image", _BUDGET_S)
        neighbour = await client.fetch(f"{self._player.base}/good", _BUDGET_S)
        assert not self._player.intruded, "an address was asked that no setting allows"
        _require_told(answer)
        if neighbour != Answer(ImageStatus.OK, GOOD):  # HTTP/1.1 has no way to tell whose a second whole answer is
            assert b"HTTP/" in raw[1:], neighbour
            return "answers its next request in advance"
        if answer.status is ImageStatus.OK and answer.data != GOOD:
            assert not _breaks_off(raw), (
                f"{len(answer.data)} bytes of an answer that breaks off are taken for the whole"
            )
            return "ok, other bytes"
        return str(answer.status)


def _official(player: Player, folder: Path) -> Callable[[bytes], str]:
    """A file that is fetched, and that is fetched whole once its server is mended."""
    target, digest = folder / "official", hashlib.sha256(BODY).hexdigest()

    def outcome(raw: bytes) -> str:
        for left in folder.glob("official*"):
            left.unlink()
        player.raw, player.mended = raw, False
        told = _fetched(player, target, digest)
        assert not player.intruded, "an address was asked that no setting allows"
        player.mended = True
        again = told
        for _ in range(2):  # what a broken server left may have to be thrown away first
            again = again if again == "read" else _fetched(player, target, digest)
        assert again == "read", "what is left of a broken answer stands in the way of a sound one"
        return told

    return outcome


def _fetched(player: Player, target: Path, digest: str) -> str:
    try:
        with fetching(CONFIG):
            fetch(f"{player.base}/file", target, digest)
    except PipelineError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.isprintable(), refused
        assert not target.exists()
        return "refused"
    assert target.read_bytes() == BODY
    return "read"


class _Archive:
    """The members of an archive, and one that it lacks, all asked for at once."""

    def __init__(self, player: Player, packed: Callable[[bytes], bytes]) -> None:
        self._player, self._packed = player, packed

    def __call__(self, data: bytes) -> str:
        self._player.raw = _headed(self._packed(data), b"Connection: close\r\n")
        with _threads_that_end() as raised:
            answers = asyncio.run(self._asked())
        assert not raised, raised
        for answer in answers:
            _require_told(answer)
        assert answers[-1].status is not ImageStatus.OK
        good = sum(answer.status is ImageStatus.OK for answer in answers)
        return f"{good} of {len(MEMBERS)} members"

    async def _asked(self) -> list[Answer]:
        client, archive = Client(CONFIG, 8), f"{self._player.base}/a.tar.gz"
        names = [*(name.rpartition("/")[2] for name in MEMBERS), "absent.jpg"]
        return await asyncio.gather(*(client.member(f"{archive}#{name}", 5.0) for name in names))


@contextmanager
def _threads_that_end() -> Iterator[list[str]]:
    """Gathers what threads raise in the block, and waits for those that read archives."""
    raised: list[str] = []
    before, threading.excepthook = threading.excepthook, lambda told: raised.append(repr(told.exc_value))
    try:
        yield raised
        for thread in threading.enumerate():
            if thread.name == "biam-pipe archive":
                thread.join()
    finally:
        threading.excepthook = before


def _require_told(answer: Answer) -> None:
    """See that an answer is one, in words that a terminal and a table can take."""
    assert answer.status in ImageStatus
    assert (answer.error is None) == (answer.status is ImageStatus.OK), answer
    assert (answer.error or "").isprintable(), answer.error
    assert len(answer.data) <= CONFIG.max_bytes
    assert not answer.data or answer.status is ImageStatus.OK


def _headed(body: bytes, lines: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body)


def _breaks_off(raw: bytes) -> bool:
    """Whether an answer ends before its own end, as Python's own reader of http sees it."""
    reply = HTTPResponse(_Wire(raw))  # type: ignore[arg-type]
    try:
        reply.begin()
        reply.read()
    except IncompleteRead:
        return 200 <= reply.status < 300
    except (HTTPException, ValueError, OSError):
        return False
    return False


class _Wire(io.BytesIO):
    """A socket that has brought all it will."""

    def makefile(self, _mode: str) -> io.BytesIO:
        """What it brought."""
        return self
