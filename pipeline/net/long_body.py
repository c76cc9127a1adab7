"""The body of one long answer, read as slowly as its reader likes; a broken connection is taken up where it broke."""

import io
import math
import random
import time
from typing import NoReturn

import pycurl

from pipeline.net.answer import Answer, refusal
from pipeline.net.faults import answer_to
from pipeline.net.networks import Networks
from pipeline.net.transfers import AS_IT_IS, Reply, new_handle, opener
from schemas.config import DownloadConfig
from schemas.status import PASSING, ImageStatus

_TURN_S = 0.2  # libcurl looks at its own deadlines at least so often
_NAP_S = 0.01
_NO_RESUMPTION = "the archive broke off, and the server does not go on with the same one from there"


class BrokenBodyError(Exception):
    """There will be no more bytes.

    Attributes:
        answer: why.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.error)
        self.answer = answer


class LongBody:
    """What lies behind an address, forwards only. A read waits for the network.

    Between reads nothing is taken, so that a server sends no more than a few megabytes ahead. A connection is given up
    where it brings nothing for `download.timeout_s`. After `download.attempts` in a row that brought nothing, reads
    raise BrokenBodyError, and so they do at once for what another attempt would not mend.

    Args:
        proxy: None for a direct connection, which is the one whose address is checked.
    """

    def __init__(self, address: str, proxy: str | None, config: DownloadConfig, networks: Networks) -> None:
        self._address = address
        self._proxy = proxy
        self._config = config
        self._networks = networks
        self._multi = pycurl.CurlMulti()
        self._handle: pycurl.Curl | None = None
        self._reply = Reply()
        self._unread = memoryview(b"")
        self._taken = self._start = 0  # bytes so far, and before this connection
        self._etag: str | None = None
        self._barren = 0  # connections in a row that brought nothing
        self._end: Answer | None = None

    def read(self, size: int, /) -> bytes:
        """At most so many of the next bytes, at least one; none at the end.

        Raises:
            BrokenBodyError: the rest cannot be had.
        """
        while not self._unread and self._end is None:
            self._turn(self._handle or self._ask())
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

    def _ask(self) -> pycurl.Curl:
        """A request for what has not been taken yet."""
        reply = self._reply = Reply()
        handle = self._handle = new_handle(self._config)
        handle.setopt(pycurl.URL, self._address)
        handle.setopt(pycurl.PROXY, self._proxy or "")
        handle.setopt(pycurl.LOW_SPEED_LIMIT, 1)  # byte a second
        handle.setopt(pycurl.LOW_SPEED_TIME, math.ceil(self._config.timeout_s))
        handle.setopt(pycurl.HEADERFUNCTION, reply.headers.append)
        handle.setopt(pycurl.WRITEFUNCTION, reply.blocks.append)
        handle.setopt(pycurl.OPENSOCKETFUNCTION, opener(None if self._proxy else self._networks, reply))
        self._start = self._taken
        if self._start:
            handle.setopt(pycurl.RANGE, f"{self._start}-")
            if self._etag:
                handle.setopt(pycurl.HTTPHEADER, [AS_IT_IS, f"If-Range: {self._etag}"])
        self._multi.add_handle(handle)
        return handle

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
        reply.code = handle.getinfo(pycurl.RESPONSE_CODE)
        refused = self._refusal() if reply.code else None
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
        reply = self._reply
        if self._start and reply.code < 300:
            first = f"bytes {self._start}-"
            if reply.code == 206 and (reply.header(b"content-range") or "").startswith(first):
                return None
            return Answer(ImageStatus.HTTP_ERROR, error=_NO_RESUMPTION)
        return refusal(reply.code, reply.header(b"retry-after"))

    def _take(self) -> None:
        if not self._taken:
            etag = self._reply.header(b"etag")
            self._etag = None if etag is None or etag.startswith("W/") else etag  # no weak one may stand in If-Range
        if self._reply.blocks:
            self._unread = memoryview(self._reply.body)
            self._reply.blocks.clear()
            self._taken += len(self._unread)
            self._barren = 0

    def _try_again(self, answer: Answer) -> None:
        """Wait before the next connection, or end it here."""
        self._barren += 1
        wait_s = max(answer.retry_after_s, self._config.backoff_s * 2**self._barren * random.uniform(0.25, 0.5))
        last = self._barren >= self._config.attempts or wait_s > self._config.timeout_s
        if last or answer.status not in PASSING:
            self._end = answer
        else:
            time.sleep(wait_s)

    def _hang_up(self) -> None:
        if self._handle is not None:
            self._multi.remove_handle(self._handle)
            self._handle.close()
            self._handle = None
