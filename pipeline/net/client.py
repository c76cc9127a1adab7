"""Fetches one image address: redirects, caps, retries, one deadline over everything.

Bodies are taken as they are sent: `identity` is asked for, and an encoded body is refused, so that no small answer can
unfold into a large one. Which addresses are asked is the business of `address`.
"""

import asyncio
import random
from functools import lru_cache

from pipeline.net.address import Route, proxy_for
from pipeline.net.answer import Answer, is_placeholder, refusal
from pipeline.net.archives import Archives
from pipeline.net.faults import answer_to, encoded, opted_out
from pipeline.net.networks import Networks
from pipeline.net.target import Target
from pipeline.net.transfers import Reply, Transfers
from schemas.config import DownloadConfig
from schemas.status import PASSING, ImageStatus

_EARLY_S = 0.05  # libcurl counts milliseconds from the moment it is handed a request


def shared_client(config: DownloadConfig, host_connections: int) -> "Client":
    """The client of all tasks that a worker runs under these settings. To be called in the loop that it serves.

    Args:
        host_connections: at most so many at once to one host, from here on: the share becomes smaller as workers come.
    """
    client = _client(config)
    client.limit(host_connections)
    return client


@lru_cache(maxsize=1)
def _client(config: DownloadConfig) -> "Client":
    return Client(config, 1)


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
        self._paused_until: dict[str, float] = {}  # by origin, in the loop's time
        self._proxies: dict[str, str | None] = {}  # by origin; a look takes 30 us

    def limit(self, host_connections: int) -> None:
        """Ask one host over at most so many connections at once, from here on."""
        self._transfers.limit(host_connections)

    async def fetch(self, address: str, budget_s: float) -> Answer:
        """The body behind an address, or why there is none. Never raises for what a server does or an address holds.

        Only passing faults are tried again, after a wait that doubles, with jitter, and is at least what the server
        asks for; all other requests to that host keep it too. A wait that would outlast the budget is not begun: the
        fault stands as the answer, and the other images are asked for as before.

        Args:
            budget_s: for everything: attempts, redirects, waits.
        """
        loop = self._loop
        deadline = loop.time() + budget_s
        route = Route(address, self._networks, self.config.max_redirects)
        origin = route.target.origin
        attempt = 0
        while True:
            if (pause_s := self._pause_s(origin)) and loop.time() + pause_s < deadline:
                await asyncio.sleep(pause_s)
            answer = await self._attempt(route, deadline, look_up=attempt > 0)
            wait_s = max(answer.retry_after_s, self.config.backoff_s * 2**attempt * random.uniform(0.5, 1.0))
            last = attempt + 1 == self.config.attempts or loop.time() + wait_s >= deadline
            if last or answer.status not in PASSING:
                return answer
            if answer.retry_after_s:
                self._paused_until[origin] = loop.time() + answer.retry_after_s
            await asyncio.sleep(wait_s)
            route.restart()
            attempt += 1

    async def member(self, address: str, budget_s: float) -> Answer:
        """A file out of a tar.gz, or why there is none; see `Archives`. Never raises for what a server does.

        Args:
            address: the archive's, `#`, and the name of the file without its folder.
        """
        archive, _, name = address.rpartition("#")
        return await self._archives.member(archive, name, budget_s)

    def _pause_s(self, origin: str) -> float:
        """How long the host still wants to be left alone, and a little more, so that not all come back at once."""
        if not self._paused_until:
            return 0.0
        left_s = self._paused_until.get(origin, 0.0) - self._loop.time()
        return left_s + self.config.backoff_s * random.random() if left_s > 0 else 0.0

    async def _attempt(self, route: Route, deadline: float, *, look_up: bool) -> Answer:
        while (refused := route.refusal()) is None:
            budget_s = deadline - self._loop.time()
            try:
                proxy = self._proxy(route.target)
                reply = await self._transfers.get(route.target.address, proxy, budget_s, look_up=look_up)
            except ValueError:
                return route.invalid()
            if not route.follow(reply):
                return self._answer(reply, late=self._loop.time() >= deadline - _EARLY_S)
        return refused

    def _answer(self, reply: Reply, *, late: bool) -> Answer:
        if reply.code and (refused := refusal(reply.code, reply.header(b"retry-after"))) is not None:
            return refused
        respectful = self.config.respect_opt_out != "never"
        if reply.code and respectful and (refused := opted_out(reply)) is not None:
            return refused
        if reply.fault:
            return answer_to(reply, self.config, late=late)
        if (refused := encoded(reply)) is not None:
            return refused
        data = reply.body
        if is_placeholder(data, self.config.placeholder_md5):
            return Answer(ImageStatus.PLACEHOLDER, error="a picture that download.placeholder_md5 lists")
        return Answer(ImageStatus.OK, data=data)

    def _proxy(self, target: Target) -> str | None:
        if target.origin not in self._proxies:
            self._proxies[target.origin] = proxy_for(target.origin)
        return self._proxies[target.origin]
