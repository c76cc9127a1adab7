"""Fetches one image address: redirects, caps, retries, one deadline over everything.

Redirects are followed here and not by the http library: that one would follow any scheme it knows, and its errors say
neither loop nor target. Bodies are taken as they are sent: `identity` is asked for, and an encoded body is refused, so
that no small answer can unfold into a large one. Where a connection may lead is the business of `networks`.
"""

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from pipeline.core.fetch import proxy_for
from pipeline.web.answer import Answer, refusal
from pipeline.web.networks import CheckedNames, Networks, PrivateAddressError
from schemas.config import DownloadConfig
from schemas.status import PASSING, ImageStatus

_NAMES_KNOWN_S = 300  # a few hosts serve millions of images; each is looked up every five minutes
_READ_BYTES = 2**18  # most photographs come whole before their reader is woken
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PLACEHOLDER_NAME = "photo_unavailable"  # Flickr sends there for a photo that is gone
_PLACEHOLDER_BYTES = 1 << 14  # those known have 2 to 9 kB; larger bodies are not hashed for it

# First match wins, so the narrow kinds stand before the wide ones.
_FAULTS: tuple[tuple[type[Exception], ImageStatus, str], ...] = (
    (aiohttp.ClientConnectorDNSError, ImageStatus.DNS_ERROR, "the host name does not resolve"),
    (aiohttp.ClientSSLError, ImageStatus.TLS_ERROR, "no secure connection"),
    (TimeoutError, ImageStatus.TIMEOUT, "no connection within download.connect_timeout_s"),
    (aiohttp.ClientPayloadError, ImageStatus.TRUNCATED_BODY, "the body ended before its announced end"),
    (aiohttp.ClientResponseError, ImageStatus.HTTP_ERROR, "the answer is not HTTP"),
    (aiohttp.ServerDisconnectedError, ImageStatus.CONNECTION_ERROR, "closed without an answer"),
    (aiohttp.ClientError, ImageStatus.CONNECTION_ERROR, "no connection"),
)
_PRIVATE = "a private, loopback or link-local address, and download.allowed_networks does not list its network"


@asynccontextmanager
async def open_client(
    config: DownloadConfig, host_connections: int, names: AbstractResolver | None = None
) -> AsyncIterator["Client"]:
    """A client that reuses connections and look-ups; for the loop that opened it.

    Args:
        host_connections: at most so many at once to one host.
        names: how host names are resolved; the system's way by default.
    """
    networks = Networks(config.allowed_networks)
    connector = aiohttp.TCPConnector(
        limit=config.concurrency,
        limit_per_host=host_connections,
        resolver=CheckedNames(networks, names),
        ttl_dns_cache=_NAMES_KNOWN_S,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout_s),
        headers={"User-Agent": config.user_agent, "Accept-Encoding": "identity"},
        auto_decompress=False,
        read_bufsize=_READ_BYTES,
        cookie_jar=aiohttp.DummyCookieJar(),  # an image must not depend on which one was fetched before it
    ) as session:
        yield Client(config, session, networks)


@dataclass(frozen=True)
class Client:
    """Asks for images, one address at a time or many at once."""

    config: DownloadConfig
    session: aiohttp.ClientSession
    networks: Networks
    _paused_until: dict[str, float] = field(default_factory=dict)  # by host, in the loop's time
    _proxies: dict[str, str | None] = field(default_factory=dict)  # by scheme and host; a look takes 30 us

    async def fetch(self, address: str, budget_s: float) -> Answer:
        """The body behind an address, or why there is none. Never raises for what a server or an address does.

        Only passing faults are tried again, after a wait that doubles, with jitter, and is at least what the server
        asks for; all other requests to that host keep it too. A wait that would outlast the budget is not begun: the
        fault stands as the answer, and the other images are asked for as before.

        Args:
            budget_s: for everything: attempts, redirects, waits.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + budget_s
        for attempt in range(self.config.attempts):
            if (pause_s := self._pause_s(address)) and loop.time() + pause_s < deadline:
                await asyncio.sleep(pause_s)
            try:
                async with asyncio.timeout_at(deadline):
                    answer = await self._attempt(address)
            except TimeoutError:
                text = f"no whole answer within download.timeout_s = {self.config.timeout_s:g}"
                return Answer(ImageStatus.TIMEOUT, error=text)
            wait_s = max(answer.retry_after_s, self.config.backoff_s * 2**attempt * random.uniform(0.5, 1.0))
            last = attempt + 1 == self.config.attempts or loop.time() + wait_s >= deadline
            if last or answer.status not in PASSING:
                break
            if answer.retry_after_s:
                self._paused_until[_host(address)] = loop.time() + answer.retry_after_s
            await asyncio.sleep(wait_s)
        return answer

    def _pause_s(self, address: str) -> float:
        """How long the host still wants to be left alone, and a little more, so that not all come back at once."""
        if not self._paused_until:
            return 0.0
        left_s = self._paused_until.get(_host(address), 0.0) - asyncio.get_running_loop().time()
        return left_s + self.config.backoff_s * random.random() if left_s > 0 else 0.0

    async def _attempt(self, address: str) -> Answer:
        visited: set[str] = set()
        while len(visited) <= self.config.max_redirects:
            if (refused := self._refused(address, redirected=bool(visited))) is not None:
                return refused
            visited.add(address)
            try:
                answer = await self._request(address)
            except (aiohttp.InvalidURL, UnicodeError):  # UnicodeError: a host name that has no IDNA form
                bad = ImageStatus.BAD_REDIRECT if len(visited) > 1 else ImageStatus.BAD_ADDRESS
                return Answer(bad, error="not a valid address")
            if isinstance(answer, Answer):
                return answer
            address = answer
            if address in visited:
                return Answer(ImageStatus.BAD_REDIRECT, error="the redirects run in a circle")
        return Answer(ImageStatus.BAD_REDIRECT, error=f"more than download.max_redirects = {self.config.max_redirects}")

    def _refused(self, address: str, *, redirected: bool) -> Answer | None:
        """The answer to an address that is not asked; None where it may be."""
        bad = ImageStatus.BAD_REDIRECT if redirected else ImageStatus.BAD_ADDRESS
        try:
            split = urlsplit(address)
            host = split.hostname
        except ValueError:
            return Answer(bad, error="not a valid address")
        if split.scheme not in ("http", "https"):
            return Answer(bad, error=f"expected an http(s) address, got the scheme {split.scheme[:16]!r}")
        if not host:
            return Answer(bad, error="an address without a host")
        if not self.networks.may_ask(host):
            return Answer(ImageStatus.PRIVATE_ADDRESS, error=_PRIVATE)
        if split.path.rpartition("/")[2].startswith(_PLACEHOLDER_NAME):
            return Answer(ImageStatus.PLACEHOLDER, error="sent to a picture that says that the photo is unavailable")
        return None

    async def _request(self, address: str) -> Answer | str:
        """One request: an answer, or the address that it redirects to."""
        try:
            async with self.session.get(address, allow_redirects=False, proxy=self._proxy(address)) as response:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    return _redirect_target(address, response.headers["Location"])
                refused = refusal(response.status, response.headers.get("Retry-After"))
                return await self._body(response) if refused is None else refused
        except aiohttp.InvalidURL:
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            return _answer_for(error)

    def _proxy(self, address: str) -> str | None:
        place = address[: address.find("/", len("https://"))]
        if place not in self._proxies:
            self._proxies[place] = proxy_for(address)
        return self._proxies[place]

    async def _body(self, response: aiohttp.ClientResponse) -> Answer:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            return Answer(ImageStatus.HTTP_ERROR, error=f"the body is encoded as {encoding[:16]!r}, expected none")
        too_large = Answer(ImageStatus.TOO_LARGE, error=f"more bytes than download.max_bytes = {self.config.max_bytes}")
        if (response.content_length or 0) > self.config.max_bytes:
            return too_large
        blocks: list[bytes] = []
        size_bytes = 0
        async for block in response.content.iter_any():
            blocks.append(block)
            size_bytes += len(block)
            if size_bytes > self.config.max_bytes:
                return too_large
        data = b"".join(blocks)
        if size_bytes <= _PLACEHOLDER_BYTES and _md5(data) in self.config.placeholder_md5:
            return Answer(ImageStatus.PLACEHOLDER, error="a picture that download.placeholder_md5 lists")
        return Answer(ImageStatus.OK, data=data)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _host(address: str) -> str:
    return urlsplit(address).netloc


def _redirect_target(address: str, location: str) -> str:
    try:
        return urljoin(address, location)
    except ValueError:
        return location  # the check of the next address names the fault


def _answer_for(error: Exception) -> Answer:
    if isinstance(getattr(error, "os_error", None), PrivateAddressError):
        return Answer(ImageStatus.PRIVATE_ADDRESS, error=_PRIVATE)
    status, text = next((status, text) for kind, status, text in _FAULTS if isinstance(error, kind))
    # The library's own text names host and port; the system's words for the error number do not.
    if isinstance(error, aiohttp.ClientOSError) and status is ImageStatus.CONNECTION_ERROR and error.errno:
        text = f"{text}: {os.strerror(error.errno).lower()}"
    return Answer(status, error=text)
