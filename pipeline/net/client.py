"""Fetches one image address: redirects, caps, retries, one deadline over everything.

Redirects are followed here and not by the http library, whose errors say neither loop nor target. Bodies are taken as
they are sent: `identity` is asked for, and an encoded body is refused, so that no small answer can unfold into a large
one. Where a connection may lead is the business of `networks`.
"""

import asyncio
import random
import re
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

from pipeline.net.answer import Answer, is_placeholder, refusal
from pipeline.net.archives import Archives
from pipeline.net.faults import INVALID, PRIVATE, answer_to
from pipeline.net.fetch import proxy_for
from pipeline.net.networks import Networks
from pipeline.net.transfers import Reply, Transfers
from schemas.config import DownloadConfig
from schemas.status import PASSING, ImageStatus

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PLACEHOLDER_NAME = "photo_unavailable"  # Flickr sends there for a photo that is gone
_EARLY_S = 0.05  # libcurl counts milliseconds from the moment it is handed a request
_SAFE = "!#$%&'()*+,/:;=?@[]~"
_SENDABLE = re.compile(rf"[\w.{re.escape(_SAFE)}-]*", re.ASCII)


@lru_cache(maxsize=1)
def shared_client(config: DownloadConfig, host_connections: int) -> "Client":
    """The client of all pieces that a worker runs under these settings. To be called in the loop that it serves."""
    return Client(config, host_connections)


class Client:
    """Asks for images, one address at a time or many at once; reuses connections and look-ups.

    Args:
        host_connections: at most so many at once to one host.

    Attributes:
        slots: to be held while an image is fetched, so that no deadline passes in a queue.
    """

    def __init__(self, config: DownloadConfig, host_connections: int) -> None:
        self.config = config
        self.slots = asyncio.Semaphore(config.requests)
        self._loop = asyncio.get_running_loop()
        self._networks = Networks(config.allowed_networks)
        self._transfers = Transfers(config, host_connections, self._networks)
        self._archives = Archives(config, self._networks)
        self._paused_until: dict[str, float] = {}  # by host, in the loop's time
        self._proxies: dict[str, str | None] = {}  # by scheme and host; a look takes 30 us

    async def fetch(self, address: str, budget_s: float) -> Answer:
        """The body behind an address, or why there is none. Never raises for what a server or an address does.

        Only passing faults are tried again, after a wait that doubles, with jitter, and is at least what the server
        asks for; all other requests to that host keep it too. A wait that would outlast the budget is not begun: the
        fault stands as the answer, and the other images are asked for as before.

        Args:
            budget_s: for everything: attempts, redirects, waits.
        """
        loop = self._loop
        deadline = loop.time() + budget_s
        for attempt in range(self.config.attempts):
            if (pause_s := self._pause_s(address)) and loop.time() + pause_s < deadline:
                await asyncio.sleep(pause_s)
            answer = await self._attempt(address, deadline, look_up=attempt > 0)
            wait_s = max(answer.retry_after_s, self.config.backoff_s * 2**attempt * random.uniform(0.5, 1.0))
            last = attempt + 1 == self.config.attempts or loop.time() + wait_s >= deadline
            if last or answer.status not in PASSING:
                break
            if answer.retry_after_s:
                self._paused_until[_host(address)] = loop.time() + answer.retry_after_s
            await asyncio.sleep(wait_s)
        return answer

    async def member(self, address: str, budget_s: float) -> Answer:
        """A file out of a tar.gz, or why there is none; see `Archives`. Never raises for what a server does.

        Args:
            address: the archive's, `#`, and the name of the file without its folder.
        """
        archive, _, name = address.rpartition("#")
        if (refused := self._refused(archive, redirected=False)) is not None:
            return refused
        try:
            sent = _as_sent(archive)
        except UnicodeError:
            return Answer(ImageStatus.BAD_ADDRESS, error=INVALID)
        return await self._archives.member(sent, self._proxy(archive), name, budget_s)

    def _pause_s(self, address: str) -> float:
        """How long the host still wants to be left alone, and a little more, so that not all come back at once."""
        if not self._paused_until:
            return 0.0
        left_s = self._paused_until.get(_host(address), 0.0) - self._loop.time()
        return left_s + self.config.backoff_s * random.random() if left_s > 0 else 0.0

    async def _attempt(self, address: str, deadline: float, *, look_up: bool) -> Answer:
        visited: set[str] = set()
        while len(visited) <= self.config.max_redirects:
            if (refused := self._refused(address, redirected=bool(visited))) is not None:
                return refused
            visited.add(address)
            try:
                answer = await self._request(address, deadline, look_up=look_up)
            except ValueError:
                bad = ImageStatus.BAD_REDIRECT if len(visited) > 1 else ImageStatus.BAD_ADDRESS
                return Answer(bad, error=INVALID)
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
            return Answer(bad, error=INVALID)
        if split.scheme not in ("http", "https"):
            return Answer(bad, error=f"expected an http(s) address, got the scheme {split.scheme[:16]!r}")
        if not host:
            return Answer(bad, error="an address without a host")
        if not self._networks.may_ask(host):
            return PRIVATE
        if split.path.rpartition("/")[2].startswith(_PLACEHOLDER_NAME):
            return Answer(ImageStatus.PLACEHOLDER, error="sent to a picture that says that the photo is unavailable")
        return None

    async def _request(self, address: str, deadline: float, *, look_up: bool) -> Answer | str:
        """One request: an answer, or the address that it redirects to."""
        budget_s = deadline - self._loop.time()
        reply = await self._transfers.get(_as_sent(address), self._proxy(address), budget_s, look_up=look_up)
        if reply.code in _REDIRECTS and (location := reply.header(b"location")) is not None:
            return _redirect_target(address, location)
        if reply.code and (refused := refusal(reply.code, reply.header(b"retry-after"))) is not None:
            return refused
        if reply.fault:
            return answer_to(reply, self.config, late=self._loop.time() >= deadline - _EARLY_S)
        return self._body(reply)

    def _proxy(self, address: str) -> str | None:
        place = address[: address.find("/", len("https://"))]
        if place not in self._proxies:
            self._proxies[place] = proxy_for(address)
        return self._proxies[place]

    def _body(self, reply: Reply) -> Answer:
        encoding = (reply.header(b"content-encoding") or "identity").lower()
        if encoding != "identity":
            return Answer(ImageStatus.HTTP_ERROR, error=f"the body is encoded as {encoding[:16]!r}, expected none")
        data = reply.body
        if is_placeholder(data, self.config.placeholder_md5):
            return Answer(ImageStatus.PLACEHOLDER, error="a picture that download.placeholder_md5 lists")
        return Answer(ImageStatus.OK, data=data)


def _host(address: str) -> str:
    return urlsplit(address).netloc


def _as_sent(address: str) -> str:
    """The address in the characters that a request may hold.

    Raises:
        UnicodeError: its host name has no IDNA form.
    """
    if _SENDABLE.fullmatch(address):
        return address
    split = urlsplit(address)
    return quote(split._replace(netloc=split.netloc.encode("idna").decode()).geturl(), safe=_SAFE)


def _redirect_target(address: str, location: str) -> str:
    try:
        return urljoin(address, location)
    except ValueError:
        return location  # the check of the next address names the fault
