"""Fetches one image address: redirects, caps, retries, one deadline over everything.

Redirects are followed here and not by the http library: that one would follow any scheme it knows, and its errors say
neither loop nor target. Bodies are taken as they are sent: `identity` is asked for, and an encoded body is refused, so
that no small answer can unfold into a large one.
"""

import asyncio
import os
import random
from urllib.parse import urljoin, urlsplit

import aiohttp

from pipeline.core.fetch import proxy_for
from pipeline.web.answer import Answer, refusal
from schemas.config import DownloadConfig
from schemas.status import PASSING, ImageStatus

_BLOCK_BYTES = 1 << 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

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


def open_session(config: DownloadConfig) -> aiohttp.ClientSession:
    """A session that reuses connections; close it in the loop that opened it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=config.concurrency),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout_s),
        headers={"User-Agent": config.user_agent, "Accept-Encoding": "identity"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),  # an image must not depend on which one was fetched before it
    )


async def fetch_image(session: aiohttp.ClientSession, address: str, config: DownloadConfig, budget_s: float) -> Answer:
    """The body behind an address, or why there is none. Never raises for what a server or an address does.

    Only passing faults are tried again, after a wait that doubles, with jitter, and is at least what the server asks
    for. A wait that would outlast the budget is not begun: the fault stands as the answer.

    Args:
        budget_s: for everything: attempts, redirects, waits.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + budget_s
    for attempt in range(config.attempts):
        try:
            async with asyncio.timeout_at(deadline):
                answer = await _attempt(session, address, config)
        except TimeoutError:
            return Answer(
                ImageStatus.TIMEOUT, error=f"no whole answer within download.timeout_s = {config.timeout_s:g}"
            )
        wait_s = max(answer.retry_after_s, config.backoff_s * 2**attempt * random.uniform(0.5, 1.0))
        last = attempt + 1 == config.attempts or loop.time() + wait_s >= deadline
        if last or answer.status not in PASSING:
            break
        await asyncio.sleep(wait_s)
    return answer


async def _attempt(session: aiohttp.ClientSession, address: str, config: DownloadConfig) -> Answer:
    visited: set[str] = set()
    while len(visited) <= config.max_redirects:
        bad = ImageStatus.BAD_REDIRECT if visited else ImageStatus.BAD_ADDRESS
        if (fault := _address_fault(address)) is not None:
            return Answer(bad, error=fault)
        visited.add(address)
        try:
            answer = await _request(session, address, config)
        except (aiohttp.InvalidURL, UnicodeError):  # UnicodeError: a host name that has no IDNA form
            return Answer(bad, error="not a valid address")
        if isinstance(answer, Answer):
            return answer
        address = answer
        if address in visited:
            return Answer(ImageStatus.BAD_REDIRECT, error="the redirects run in a circle")
    return Answer(ImageStatus.BAD_REDIRECT, error=f"more than download.max_redirects = {config.max_redirects}")


def _address_fault(address: str) -> str | None:
    try:
        split = urlsplit(address)
    except ValueError:
        return "not a valid address"
    if split.scheme not in ("http", "https"):
        return f"expected an http(s) address, got the scheme {split.scheme[:16]!r}"
    return None if split.hostname else "an address without a host"


async def _request(session: aiohttp.ClientSession, address: str, config: DownloadConfig) -> Answer | str:
    """One request: an answer, or the address that it redirects to."""
    try:
        async with session.get(address, allow_redirects=False, proxy=proxy_for(address)) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                return _redirect_target(address, response.headers["Location"])
            refused = refusal(response.status, response.headers.get("Retry-After"))
            return await _body(response, config) if refused is None else refused
    except aiohttp.InvalidURL:
        raise
    except (aiohttp.ClientError, TimeoutError) as error:
        return _answer_for(error)


def _redirect_target(address: str, location: str) -> str:
    try:
        return urljoin(address, location)
    except ValueError:
        return location  # the check of the next address names the fault


async def _body(response: aiohttp.ClientResponse, config: DownloadConfig) -> Answer:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        return Answer(ImageStatus.HTTP_ERROR, error=f"the body is encoded as {encoding[:16]!r}, expected none")
    too_large = Answer(ImageStatus.TOO_LARGE, error=f"more bytes than download.max_bytes = {config.max_bytes}")
    if (response.content_length or 0) > config.max_bytes:
        return too_large
    data = bytearray()
    async for block in response.content.iter_chunked(_BLOCK_BYTES):
        data += block
        if len(data) > config.max_bytes:
            return too_large
    return Answer(ImageStatus.OK, data=bytes(data))


def _answer_for(error: Exception) -> Answer:
    status, text = next((status, text) for kind, status, text in _FAULTS if isinstance(error, kind))
    # The library's own text names host and port; the system's words for the error number do not.
    if isinstance(error, aiohttp.ClientOSError) and status is ImageStatus.CONNECTION_ERROR and error.errno:
        text = f"{text}: {os.strerror(error.errno).lower()}"
    return Answer(status, error=text)
