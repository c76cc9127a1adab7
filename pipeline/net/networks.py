"""Which network addresses the downloader may connect to: public ones, and those of networks that a setting lists.

Lists of image addresses come from strangers. Without this check one of them could make the downloader ask a machine of
the user's own network, or a cloud's metadata service, and store what it says.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

_HOSTS_KNOWN = 1024  # a few serve all images, and each is asked for again with every image

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Networks:
    """Public addresses, and those of these networks.

    Args:
        allowed: texts such as "10.0.0.0/8".
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = [ipaddress.ip_network(text, strict=False) for text in allowed]
        self.may_ask = lru_cache(_HOSTS_KNOWN)(self._may_ask)

    def _may_ask(self, host: str) -> bool:
        """Whether a host may be asked as far as its text tells: a name may, until it is resolved."""
        try:
            address = ipaddress.ip_address(host.split("%", maxsplit=1)[0])
        except ValueError:
            return True
        return self.has(address)

    def has(self, address: Address) -> bool:
        """Whether a connection to this address is allowed."""
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        inner = _inner(address)
        if inner is not None:
            return self.has(inner)
        return address.is_global and not address.is_multicast


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, or behind NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
