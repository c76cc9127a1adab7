"""Http requests on an asyncio loop by libcurl: one address in, what came back out; many at once.

libcurl and not a client in Python: a request for 125 kB takes 64 us of a core here and took 108 us with aiohttp. It
reuses connections, remembers names, and asks before it opens a connection where that may lead. What an answer means is
the business of `client`.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import certifi
import pycurl

from pipeline.net.networks import Networks
from schemas.config import DownloadConfig
from schemas.errors import PipelineError

_NAMES_KNOWN_S = 300  # a few hosts serve millions of images; each is looked up every five minutes
_READ_BYTES = 2**19  # most photographs come in one read
_LIBCURL = 0x080400
AS_IT_IS = "Accept-Encoding: identity"
# An answer without a status line; the schemes that libcurl knows are checked before. The second is an old name.
NO_HTTP = frozenset({pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_FTP_WEIRD_SERVER_REPLY})
_READABLE, _WRITABLE = pycurl.POLL_IN, pycurl.POLL_OUT


@dataclass
class Reply:
    """What one request brought.

    Attributes:
        code: of http; 0 where no answer came but interim ones, such as 103.
        headers: lines of the answer as they came: none of interim answers before it, none of trailers after it.
        body: as it came; less than the whole where `fault` is set.
        fault: libcurl's number of what went wrong; 0 where nothing did.
        errno: the system's number of it, 0 where there is none.
        refused: no connection was opened, because no setting allows any address of the host.
        reused: it came over a connection that had carried another request.
    """

    code: int = 0
    headers: list[bytes] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    fault: int = 0
    errno: int = 0
    refused: bool = False
    reused: bool = False
    _headed: bool = False

    def take(self, line: bytes) -> None:
        """Keep a line of headers where it is one of the answer itself.

        Each block begins with a status line, that of an interim answer or of a proxy's to CONNECT, too; trailers have
        none.
        """
        if line.startswith(b"HTTP/") and not self.blocks:
            self.headers.clear()
            self._headed = False
        if not self._headed:
            self.headers.append(line)
            self._headed = not line.strip()

    @property
    def body(self) -> bytes:
        """The bytes after the headers."""
        return self.blocks[0] if len(self.blocks) == 1 else b"".join(self.blocks)

    def header(self, name: bytes) -> str | None:
        """The last value that the answer gives a header; None where it has none.

        Args:
            name: in lower case.
        """
        values = self.values(name)
        return values[-1] if values else None

    def values(self, name: bytes) -> list[str]:
        """All values that the answer gives a header, in lines of their own."""
        size = len(name) + 1
        return [_text(line[size:].strip()) for line in self.headers if line[:size].lower() == name + b":"]


class Transfers:
    """Requests of one loop. To be made and used in the loop's thread.

    Args:
        host_connections: at most so many at once to one host.

    Raises:
        PipelineError: the libcurl of this installation does not end bodies that grow too large.
    """

    def __init__(self, config: DownloadConfig, host_connections: int, networks: Networks) -> None:
        if pycurl.version_info()[2] < _LIBCURL:
            raise PipelineError(
                f"pycurl is built on libcurl {pycurl.version_info()[1]}, expected 8.4 or newer, which ends bodies that "
                "grow too large. Run: pip install --force-reinstall --only-binary :all: pycurl"
            )
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._networks = networks
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wake)
        self.limit(host_connections)
        self._multi.setopt(pycurl.M_MAXCONNECTS, config.requests)
        self._timer: asyncio.Handle | None = None
        self._watched: dict[int, int] = {}
        self._under_way: dict[pycurl.Curl, asyncio.Future[tuple[int, int]]] = {}
        self._idle: list[pycurl.Curl] = []

    def limit(self, host_connections: int) -> None:
        """Open at most so many connections at once to one host, from here on."""
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, host_connections)

    async def get(self, address: str, proxy: str | None, budget_s: float, *, look_up: bool = False) -> Reply:
        """What a request brings; redirects are not followed. Never raises for what a server does.

        A server may send more than it announced. What it sent too much is read as the answer to the next request on
        that connection, which has done nothing wrong: it is asked again over one of its own. So is what the server did
        not expect on that connection (421).

        Args:
            proxy: None for a direct connection, which is the one whose address is checked.
            budget_s: for all of it.
            look_up: ask for the host's name anew: libcurl remembers too that a name was not found.

        Raises:
            ValueError: no request can carry this address.
        """
        started = self._loop.time()
        reply = await self._get(address, proxy, budget_s, look_up=look_up, fresh=False)
        if reply.reused and (reply.fault in NO_HTTP or reply.code == HTTPStatus.MISDIRECTED_REQUEST):
            left_s = started + budget_s - self._loop.time()
            reply = await self._get(address, proxy, left_s, look_up=look_up, fresh=True)
        return reply

    async def _get(self, address: str, proxy: str | None, budget_s: float, *, look_up: bool, fresh: bool) -> Reply:
        reply = Reply()
        handle = self._idle.pop() if self._idle else self._handle()
        try:
            prepare(handle, reply, address, proxy, self._networks)
            handle.setopt(pycurl.TIMEOUT_MS, max(1, int(budget_s * 1000)))
            handle.setopt(pycurl.DNS_CACHE_TIMEOUT, 0 if look_up else _NAMES_KNOWN_S)
            handle.setopt(pycurl.FRESH_CONNECT, fresh)
            self._multi.add_handle(handle)
        except pycurl.error as error:
            raise ValueError(address) from error
        future = self._under_way[handle] = self._loop.create_future()
        try:
            reply.fault, reply.errno = await future
        finally:
            if self._under_way.pop(handle, None):
                self._multi.remove_handle(handle)
        reply.code = code_of(handle)
        reply.reused = handle.getinfo(pycurl.NUM_CONNECTS) == 0
        self._idle.append(handle)
        if reply.fault == pycurl.E_URL_MALFORMAT:
            raise ValueError(address)
        return reply

    def _handle(self) -> pycurl.Curl:
        handle = new_handle(self._config)
        handle.setopt(pycurl.MAXFILESIZE_LARGE, self._config.max_bytes)
        return handle

    def _watch(self, wanted: int, descriptor: int, _multi: object, _data: object) -> None:
        """Take from libcurl for what it wants to be called; `POLL_REMOVE` holds neither bit."""
        wanted = 0 if wanted == pycurl.POLL_REMOVE else wanted
        changed = self._watched.get(descriptor, 0) ^ wanted
        self._watched[descriptor] = wanted
        if changed & _READABLE:
            if wanted & _READABLE:
                self._loop.add_reader(descriptor, self._act, descriptor, pycurl.CSELECT_IN)
            else:
                self._loop.remove_reader(descriptor)
        if changed & _WRITABLE:
            if wanted & _WRITABLE:
                self._loop.add_writer(descriptor, self._act, descriptor, pycurl.CSELECT_OUT)
            else:
                self._loop.remove_writer(descriptor)

    def _wake(self, delay_ms: int) -> None:
        """Take from libcurl when it wants to be called whatever happens; a negative delay takes that back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay_ms >= 0:
            self._timer = self._loop.call_later(delay_ms / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, descriptor: int, events: int) -> None:
        """Let libcurl work, and end the requests that came to an end."""
        self._multi.socket_action(descriptor, events)
        left = 1
        while left:
            left, whole, broken = self._multi.info_read()
            for handle in whole:
                self._end(handle, 0)
            for handle, fault, _ in broken:
                self._end(handle, fault)

    def _end(self, handle: pycurl.Curl, fault: int) -> None:
        self._multi.remove_handle(handle)
        future = self._under_way.pop(handle)
        if not future.done():  # cancelled in the same turn of the loop
            future.set_result((fault, handle.getinfo(pycurl.OS_ERRNO) if fault else 0))


def new_handle(config: DownloadConfig) -> pycurl.Curl:
    """A handle with what all requests have in common."""
    handle = pycurl.Curl()
    trusted = ssl.get_default_verify_paths()
    handle.setopt(pycurl.CAINFO, trusted.cafile or certifi.where())
    if trusted.capath:
        handle.setopt(pycurl.CAPATH, trusted.capath)
    handle.setopt(pycurl.NOSIGNAL, True)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # so that connections are requests under way
    handle.setopt(pycurl.BUFFERSIZE, _READ_BYTES)
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, int(config.connect_timeout_s * 1000))
    handle.setopt(pycurl.USERAGENT, config.user_agent.encode())
    handle.setopt(pycurl.HTTPHEADER, [AS_IT_IS])
    return handle


def code_of(handle: pycurl.Curl) -> int:
    """The code of the answer; 0 where none came but interim ones."""
    code: int = handle.getinfo(pycurl.RESPONSE_CODE)
    return code if code >= HTTPStatus.OK else 0


def prepare(handle: pycurl.Curl, reply: Reply, address: str, proxy: str | None, networks: Networks | None) -> None:
    """Set a handle to ask an address, and to put what comes back into a reply.

    Args:
        proxy: None for a direct connection, which is the one whose address is checked.
        networks: that it may lead into; None for all.
    """
    handle.setopt(pycurl.URL, address)
    handle.setopt(pycurl.PROXY, proxy or "")
    handle.setopt(pycurl.HEADERFUNCTION, reply.take)
    handle.setopt(pycurl.WRITEFUNCTION, reply.blocks.append)
    handle.setopt(pycurl.OPENSOCKETFUNCTION, _opener(None if proxy else networks, reply))


def _opener(networks: Networks | None, reply: Reply) -> Any:
    """Opens a socket to an address that libcurl wants to connect to, where that is allowed; None allows all."""
    opened_one = False

    def opened(_purpose: int, place: tuple[int, int, int, Any]) -> "socket.socket | int":
        nonlocal opened_one
        family, kind, protocol, address = place
        if networks is not None and not networks.may_ask(address[0]):
            reply.refused = not opened_one
            return pycurl.SOCKET_BAD
        reply.refused, opened_one = False, True
        return _Lent(family, kind, protocol)

    return opened


def _text(value: bytes) -> str:
    """What a server wrote: in UTF-8 where it is that, else in Latin-1, as http began."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


class _Lent(socket.socket):
    """A socket of which libcurl makes a copy for itself; this one is closed when nobody holds it any more."""

    def __del__(self) -> None:
        self.close()
