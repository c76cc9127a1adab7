"""Which address a request goes to: what may be asked, where redirects lead, by which proxy. Asks nothing itself.

Redirects are followed here and not by the http library, whose errors say neither loop nor target. Where a connection
may lead is the business of `networks`.
"""

import re
import urllib.request
from urllib.parse import quote, urljoin, urlsplit

from pipeline.net.answer import Answer
from pipeline.net.faults import INVALID, PRIVATE
from pipeline.net.networks import Networks
from pipeline.net.transfers import Reply
from schemas.status import ImageStatus

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PLACEHOLDER_NAME = "photo_unavailable"  # Flickr sends there for a photo that is gone
_SAFE = "!#$%&'()*+,/:;=?@[]~"
_SENDABLE = re.compile(rf"[\w.{re.escape(_SAFE)}-]*", re.ASCII)


class Route:
    """The address to ask, first the one that was given, then those that it redirects to.

    Args:
        max_redirects: of the setting, beyond which it ends.
        typed: the first address stands in the settings and not in somebody's list, and may be a private one.

    Attributes:
        address: to ask next.
        networks: that a connection to it may lead into; None for all.
    """

    __slots__ = ("_listed", "_max_redirects", "_visited", "address", "networks")

    def __init__(self, address: str, networks: Networks, max_redirects: int, *, typed: bool = False) -> None:
        self.address = address
        self.networks = None if typed else networks
        self._listed = networks
        self._max_redirects = max_redirects
        self._visited: tuple[str, ...] = ()

    def refusal(self) -> Answer | None:
        """The answer to an address that is not asked; None where it may be."""
        if self.address in self._visited:
            return Answer(ImageStatus.BAD_REDIRECT, error="the redirects run in a circle")
        if len(self._visited) > self._max_redirects:
            error = f"more than download.max_redirects = {self._max_redirects}"
            return Answer(ImageStatus.BAD_REDIRECT, error=error)
        try:
            split = urlsplit(self.address)
            host = split.hostname
        except ValueError:
            return self.invalid()
        if split.scheme not in ("http", "https"):
            return self.invalid(f"expected an http(s) address, got the scheme {split.scheme[:16]!r}")
        if not host:
            return self.invalid("an address without a host")
        if self.networks is not None and not self.networks.may_ask(host):
            return PRIVATE
        if split.path.rpartition("/")[2].startswith(_PLACEHOLDER_NAME):
            return Answer(ImageStatus.PLACEHOLDER, error="sent to a picture that says that the photo is unavailable")
        return None

    def invalid(self, error: str = INVALID) -> Answer:
        """The answer to an address that cannot be asked."""
        return Answer(ImageStatus.BAD_REDIRECT if self._visited else ImageStatus.BAD_ADDRESS, error=error)

    def as_sent(self) -> str:
        """The address in the characters that a request may hold.

        Raises:
            UnicodeError: its host name has no IDNA form.
        """
        if _SENDABLE.fullmatch(self.address):
            return self.address
        split = urlsplit(self.address)
        return quote(split._replace(netloc=split.netloc.encode("idna").decode()).geturl(), safe=_SAFE)

    def follow(self, reply: Reply) -> bool:
        """Go on to where the reply redirects; False where it does not."""
        if reply.code not in _REDIRECTS or (location := reply.header(b"location")) is None:
            return False
        self._visited += (self.address,)
        self.networks = self._listed
        try:
            self.address = urljoin(self.address, location)
        except ValueError:
            self.address = location  # its refusal names the fault
        return True


def proxy_for(address: str) -> str | None:
    """The proxy that the environment names for this address; None for a direct connection.

    Loopback is always direct: the demo's server is there, and no proxy can reach it.
    """
    split = urlsplit(address)
    host = split.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(split.scheme)
