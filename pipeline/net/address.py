"""Which address a request goes to: what may be asked, where redirects lead, by which proxy. Asks nothing itself.

Redirects are followed here and not by the http library, whose errors say neither loop nor target. How an address is
written is the business of `target`, where a connection may lead that of `networks`.
"""

import urllib.request
from urllib.parse import urlsplit

from pipeline.net.answer import Answer
from pipeline.net.faults import PRIVATE
from pipeline.net.networks import Networks, is_localhost
from pipeline.net.target import INVALID, AddressError, Target, judged
from pipeline.net.transfers import Reply
from schemas.status import ImageStatus

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PLACEHOLDER_NAME = "photo_unavailable"  # Flickr sends there for a photo that is gone


class Route:
    """The address to ask, first the one that was given, then those that it redirects to.

    Args:
        max_redirects: of the setting, beyond which it ends.
        typed: the first address stands in the settings and not in somebody's list, and may be a private one.

    Attributes:
        target: to ask next, unless `refusal` says otherwise.
        networks: that a connection to it may lead into; None for all.
    """

    __slots__ = ("_fault", "_first", "_listed", "_max_redirects", "_visited", "networks", "target")

    def __init__(self, address: str, networks: Networks, max_redirects: int, *, typed: bool = False) -> None:
        self._listed = networks
        self._max_redirects = max_redirects
        self.target, self._fault = _judged(address)
        self._first = self.target, self._fault, None if typed else networks
        self.restart()

    def restart(self) -> None:
        """Go back to the address that was given."""
        self.target, self._fault, self.networks = self._first
        self._visited: tuple[str, ...] = ()

    def refusal(self) -> Answer | None:
        """The answer to an address that is not asked; None where it may be."""
        if self.target.address in self._visited:
            return Answer(ImageStatus.BAD_REDIRECT, error="the redirects run in a circle")
        if len(self._visited) > self._max_redirects:
            error = f"more than download.max_redirects = {self._max_redirects}"
            return Answer(ImageStatus.BAD_REDIRECT, error=error)
        if self._fault is not None:
            return self.invalid(self._fault)
        if self.networks is not None and not self.networks.may_ask(self.target.host):
            return PRIVATE
        if self.target.file_name.startswith(_PLACEHOLDER_NAME):
            return Answer(ImageStatus.PLACEHOLDER, error="sent to a picture that says that the photo is unavailable")
        return None

    def invalid(self, error: str = INVALID) -> Answer:
        """The answer to an address that cannot be asked."""
        return Answer(ImageStatus.BAD_REDIRECT if self._visited else ImageStatus.BAD_ADDRESS, error=error)

    def follow(self, reply: Reply) -> bool:
        """Go on to where the reply redirects; False where it does not."""
        if reply.code not in _REDIRECTS or (location := reply.header(b"location")) is None:
            return False
        self._visited += (self.target.address,)
        self.networks = self._listed
        self.target, self._fault = _judged(location, self.target.address)
        return True


def _judged(text: str, base: str | None = None) -> tuple[Target, str | None]:
    """The target, and what is wrong with it; a wrong one is shown, and never asked."""
    try:
        return judged(text, base), None
    except AddressError as error:
        return Target(text, "", ""), str(error)


def proxy_for(address: str) -> str | None:
    """The proxy that the environment names for this address; None for a direct connection.

    Loopback is always direct: the demo's server is there, and no proxy can reach it.
    """
    split = urlsplit(address)
    host = split.hostname or ""
    if is_localhost(host) or host == "::1" or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(split.scheme)
