"""Which network addresses the downloader may connect to: public ones, and those of networks that a setting lists.

Lists of image addresses come from strangers. Without this check one of them could make the downloader ask a machine of
the user's own network, or a cloud's metadata service, and store what it says.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

_HOSTS_KNOWN = 1024  # a few serve all images, and each is asked for again with every image

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Written out, because what Python calls global differs between its versions: 192.0.0.8 and fec0::1 were, 3fff::1 is.
# Source: the special-purpose address registries of IANA, with multicast, class E and what RFC 7526 retired (6to4's
# relays). Some of these networks are reachable from everywhere, for purposes of their own; none serves images.
_SPECIAL_IPV4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
# IPv6 is given out from 2000::/3 alone, so that these are the exceptions within it: protocols (Teredo, benchmarks,
# ORCHID), two of documentation, and a sink of reverse look-ups.
_GIVEN_OUT_IPV6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_IPV6 = ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20")
_SPECIAL = tuple(map(ipaddress.ip_network, _SPECIAL_IPV4 + _SPECIAL_IPV6))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOOPBACK = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")


class Networks:
    """Public addresses, and those of these networks.

    Args:
        allowed: texts such as "10.0.0.0/8".
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = [ipaddress.ip_network(text, strict=False) for text in allowed]
        self.may_ask = lru_cache(_HOSTS_KNOWN)(self._may_ask)

    def _may_ask(self, host: str) -> bool:
        """Whether a host may be asked as far as its text tells: a name may, until it is resolved.

        Args:
            host: in the spelling of `target`, or of a socket.
        """
        if is_localhost(host):
            return any(map(self.has, _LOOPBACK))
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return True
        return self.has(address)

    def has(self, address: Address) -> bool:
        """Whether a connection to this address is allowed."""
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        if isinstance(address, ipaddress.IPv6Address):
            if (inner := _inner(address)) is not None:
                return self.has(inner)
            if address not in _GIVEN_OUT_IPV6:
                return False
        return not any(address in network for network in _SPECIAL if network.version == address.version)


def is_localhost(host: str) -> bool:
    """Whether a name is one of this machine, wherever it is resolved.

    Source: RFC 6761, section 6.3.
    """
    return f".{host.removesuffix('.')}".endswith(".localhost")


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, or behind NAT64."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
