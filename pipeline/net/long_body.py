"""The body of one long answer, read as slowly as its reader likes; a broken connection is taken up where it broke."""

import io
import math
import random
import time
from http import HTTPStatus
from typing import NoReturn, Protocol

import pycurl

from pipeline.net.address import Route, proxy_for
from pipeline.net.answer import Answer, refusal
from pipeline.net.faults import answer_to, encoded
from pipeline.net.networks import Networks
from pipeline.net.transfers import AS_IT_IS, Reply, code_of, new_handle, prepare
from schemas.config import DownloadConfig
from schemas.status import PASSING, ImageStatus

_TURN_S = 0.2  # libcurl looks at its own deadlines at least so often
_NAP_S = 0.01
_LENGTH_DIGITS = 18  # of a body whose size is believed
_NO_RESUMPTION = Answer(
    ImageStatus.HTTP_ERROR, error="the archive broke off, and the server does not go on with the same one from there"
)
_OTHER_RANGE_CODES = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_OTHER_RANGE = Answer(ImageStatus.TRUNCATED_BODY, error="an answer for another range than the one asked for")


class BrokenBodyError(Exception):
    """There will be no more bytes.

    Attributes:
        answer: why.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.error)
        self.answer = answer


class Keeper(Protocol):
    """Where a reader keeps the bytes, who can also throw them away and take another version of them."""

    def resumable(self) -> tuple[int, str]:
        """How many bytes are there, and the version that they belong to, in the server's words and fit for If-Range."""

    def begin(self, version: str) -> None:
        """Throw away what there is; the first byte of this version comes next. "" where nothing can prove it."""

    def look(self) -> None:
        """Called at least every 0.2 s; what it raises ends the read."""


class LongBody:
    """What lies behind an address, forwards only. A read waits for the network.

    Between reads nothing is taken, so that a server sends no more than a few megabytes ahead. A connection is given up
    where it brings nothing for `download.timeout_s`. After `download.attempts` in a row that came no further, reads
    raise BrokenBodyError, and so they do at once for what another attempt would not mend.

    Args:
        typed: the address stands in the settings, and may be a private one.
        keeper: None for a reader that cannot go back: the body ends where another version of it would begin.
        first_bytes: ask for so many of them; a server that heeds no range begins to send all. None for all.

    Attributes:
        size_bytes: of the whole body, as the server announces it.
    """

    def __init__(
        self,
        address: str,
        config: DownloadConfig,
        networks: Networks,
        *,
        typed: bool = False,
        keeper: Keeper | None = None,
        first_bytes: int | None = None,
    ) -> None:
        self._config = config
        self._first_bytes = first_bytes
        self._route = Route(address, networks, config.max_redirects, typed=typed)
        self._first = self._route.target
        self._keeper = keeper
        self._multi = pycurl.CurlMulti()
        self._handle: pycurl.Curl | None = None
        self._reply = Reply()
        self._accepted = False  # this connection brings the bytes that were asked for
        self._unread = memoryview(b"")
        self._taken, self._version = (0, "") if keeper is None else keeper.resumable()
        self._start = 0  # bytes before this connection
        self._furthest = self._taken  # before what broke was begun anew
        self._barren = 0  # connections in a row that came no further
        self._wait_until_s = 0.0  # in the clock's time
        self._end: Answer | None = None
        self.size_bytes: int | None = None

    @property
    def place(self) -> int:
        """Where the next read begins."""
        return self._taken - len(self._unread)

    @property
    def redirected_to(self) -> str | None:
        """Where redirects have led; None where there were none."""
        target = self._route.target
        return None if target is self._first else target.address

    def header(self, name: bytes) -> str | None:
        """What the last answer says in a header, as `Reply.header` has it."""
        return self._reply.header(name)

    def read(self, size: int, /) -> bytes:
        """At most so many of the next bytes, at least one; none at the end.

        Raises:
            BrokenBodyError: the rest cannot be had.
        """
        while not self._unread and self._end is None:
            self._step()
        if not self._unread and self._end is not None and self._end.status is not ImageStatus.OK:
            raise BrokenBodyError(self._end)
        block, self._unread = bytes(self._unread[:size]), self._unread[size:]
        return block

    def seek(self, place: int, /) -> NoReturn:
        """Not possible, as the readers of archives have to be told.

        Raises:
            io.UnsupportedOperation: always.
        """
        raise io.UnsupportedOperation(f"seek to {place}: what has been read is gone")

    def close(self) -> None:
        """End the connection."""
        self._hang_up()
        self._multi.close()

    def _step(self) -> None:
        """Come a little nearer to the next byte."""
        if self._keeper is not None:
            self._keeper.look()
        if (wait_s := self._wait_until_s - time.monotonic()) > 0:
            time.sleep(min(wait_s, _TURN_S))
        elif self._handle is not None:
            self._turn(self._handle)
        else:
            self._end = self._ask()

    def _ask(self) -> Answer | None:
        """Send a request for what has not been taken yet; the answer where none can be sent."""
        if (refused := self._route.refusal()) is not None:
            return refused
        address = self._route.target.address
        reply = self._reply = Reply()
        handle = self._handle = new_handle(self._config)
        prepare(handle, reply, address, proxy_for(address), self._route.networks)
        handle.setopt(pycurl.FRESH_CONNECT, True)  # the connection of a hop that may lead anywhere serves no other
        handle.setopt(pycurl.LOW_SPEED_LIMIT, 1)  # byte a second
        handle.setopt(pycurl.LOW_SPEED_TIME, math.ceil(self._config.timeout_s))
        if self._keeper is not None and not self._version:
            self._taken = 0
        self._start, self._accepted = self._taken, False
        if self._start:
            handle.setopt(pycurl.RANGE, f"{self._start}-")
            if self._version:
                handle.setopt(pycurl.HTTPHEADER, [AS_IT_IS, f"If-Range: {self._version}"])
        elif self._first_bytes is not None:
            handle.setopt(pycurl.RANGE, f"0-{self._first_bytes - 1}")
        self._multi.add_handle(handle)
        return None

    def _turn(self, handle: pycurl.Curl) -> None:
        """Let libcurl work, and take what it brought."""
        if any(self._multi.fdset()):
            self._multi.select(_TURN_S)
        else:  # no connection yet to wait for
            time.sleep(_NAP_S)
        self._multi.perform()
        _, whole, broken = self._multi.info_read()
        reply = self._reply
        if not (reply.blocks or whole or broken):
            return
        reply.code = code_of(handle)
        if self._route.follow(reply):
            self._hang_up()
            return
        refused = self._refusal() if reply.code and not self._accepted else None
        if refused is None:
            self._take()
        if broken:
            reply.fault, reply.errno = broken[0][1], handle.getinfo(pycurl.OS_ERRNO)
            refused = refused or answer_to(reply, self._config, late=handle.getinfo(pycurl.CONNECT_TIME) > 0)
        if refused is not None:
            self._hang_up()
            self._try_again(refused)
        elif whole:
            self._hang_up()
            self._end = Answer(ImageStatus.OK)

    def _refusal(self) -> Answer | None:
        """Why the answer is not the bytes that were asked for; None where it is."""
        code = self._reply.code
        ranged = self._start or self._first_bytes
        goes_on = code == HTTPStatus.PARTIAL_CONTENT and ranged and self._begins_there()
        if self._start and not goes_on:
            if self._keeper is None and code < HTTPStatus.MULTIPLE_CHOICES:
                return _NO_RESUMPTION
            if self._keeper is not None and code in _OTHER_RANGE_CODES:
                self._begin("")  # the next connection asks for all of it
                return _OTHER_RANGE
            if code == HTTPStatus.OK:
                self._start = self._taken = 0
        refused = None if goes_on else refusal(code, self._reply.header(b"retry-after"))
        if refused is None:
            refused = encoded(self._reply)
        if refused is None:
            self._accept()
        return refused

    def _begins_there(self) -> bool:
        return (self._reply.header(b"content-range") or "").startswith(f"bytes {self._start}-")

    def _accept(self) -> None:
        self._accepted = True
        length, before = self._reply.header(b"content-length") or "", self._start
        if self._reply.code == HTTPStatus.PARTIAL_CONTENT and not before:
            length = (self._reply.header(b"content-range") or "").rpartition("/")[2]
        known = length.isdecimal() and len(length) <= _LENGTH_DIGITS
        self.size_bytes = before + int(length) if known else None
        if not self._start:
            tag = self._reply.header(b"etag") or "W/"
            # A weak tag does not promise equal bytes, and If-Range must not carry one (RFC 9110, section 13.1.5).
            self._begin((self._reply.header(b"last-modified") or "") if tag.startswith("W/") else tag)

    def _begin(self, version: str) -> None:
        self._version = version if version.isascii() and version.isprintable() else ""  # what a request can repeat
        if self._keeper is not None:
            self._keeper.begin(self._version)

    def _take(self) -> None:
        if self._reply.blocks:
            self._unread = memoryview(self._reply.body)
            self._reply.blocks.clear()
            self._taken += len(self._unread)
            if self._taken > self._furthest:
                self._furthest, self._barren = self._taken, 0

    def _try_again(self, answer: Answer) -> None:
        """Wait before the next connection, or end it here."""
        self._barren += 1
        wait_s = max(answer.retry_after_s, self._config.backoff_s * 2**self._barren * random.uniform(0.25, 0.5))
        last = self._barren >= self._config.attempts or wait_s > self._config.timeout_s
        if last or answer.status not in PASSING:
            self._end = answer
        else:
            self._wait_until_s = time.monotonic() + wait_s
            self._route.restart()

    def _hang_up(self) -> None:
        if self._handle is not None:
            self._multi.remove_handle(self._handle)
            self._handle.close()
            self._handle = None
