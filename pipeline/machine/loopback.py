"""Whether an address leads nowhere but to this machine."""

import re
from collections.abc import Collection
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a host, a name or a number, is this machine by what its text says."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def loopback_of(addresses: Collection[str]) -> str | None:
    """The first of some http addresses that leads nowhere on another host; None where there is none."""
    hosts = {address: re.sub(r"^[a-z]+://|(:\d+)?(/.*)?$", "", address) for address in addresses}
    return next((address for address, host in hosts.items() if is_loopback(host)), None)
