import asyncio
import socket
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import ValidationError

from pipeline.web.networks import CheckedNames, Networks, PrivateAddressError
from schemas.config import DownloadConfig


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "2002:7f00:1::",
        "64:ff9b::7f00:1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not Networks(()).has(ip_address(address))
    assert not Networks(()).may_ask(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_and_names_may_be_asked(address: str) -> None:
    assert Networks(()).has(ip_address(address))
    assert Networks(()).may_ask("images.example")


def test_a_listed_network_may_be_asked_and_its_neighbours_may_not() -> None:
    networks = Networks(("10.1.0.0/16", "fd00::/8"))
    assert networks.may_ask("10.1.2.3")
    assert networks.may_ask("fd12::1")
    assert networks.may_ask("::ffff:10.1.2.3")
    assert not networks.may_ask("10.2.0.1")


class Names(AbstractResolver):
    """Knows one name."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0) for one in self.hosts
        ]

    async def close(self) -> None:
        """Nothing to close."""


def test_a_name_leads_to_its_public_addresses_only() -> None:
    names = CheckedNames(Networks(()), Names("127.0.0.1", "8.8.8.8"))
    assert [one["host"] for one in asyncio.run(names.resolve("images.example"))] == ["8.8.8.8"]


def test_a_name_with_private_addresses_only_leads_nowhere() -> None:
    with pytest.raises(PrivateAddressError):
        asyncio.run(CheckedNames(Networks(()), Names("10.0.0.1")).resolve("images.example"))


def test_a_network_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(ValidationError, match="does not appear to be an IPv4 or IPv6 network"):
        DownloadConfig(allowed_networks=("office",))
