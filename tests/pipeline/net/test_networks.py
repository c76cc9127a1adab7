from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from pipeline.net.networks import Networks
from schemas.config import DownloadConfig


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "2002:7f00:1::",
        "64:ff9b::7f00:1", "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "fec0::1", "5f00::1", "3fff::1", "2001::1",
        "2001:db8::1", "2001:20::1", "100::1", "64:ff9b:1::1", "4000::1", "192.88.99.1", "192.0.0.8", "192.0.0.9",
        "192.0.2.1", "198.19.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not Networks(()).has(ip_address(address))
    assert not Networks(()).may_ask(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_public_addresses_and_names_may_be_asked(address: str) -> None:
    assert Networks(()).has(ip_address(address))
    assert Networks(()).may_ask("images.example")


@pytest.mark.parametrize("name", ["localhost", "localhost.", "a.localhost"])
def test_a_name_of_this_machine_is_refused_before_it_is_resolved(name: str) -> None:
    assert not Networks(()).may_ask(name)
    assert Networks(("127.0.0.0/8",)).may_ask(name)
    assert Networks(("::1/128",)).may_ask(name)
    assert Networks(()).may_ask("localhost.example")


def test_a_listed_network_may_be_asked_and_its_neighbours_may_not() -> None:
    networks = Networks(("10.1.0.0/16", "fd00::/8"))
    assert networks.may_ask("10.1.2.3")
    assert networks.may_ask("fd12::1")
    assert networks.may_ask("::ffff:10.1.2.3")
    assert not networks.may_ask("10.2.0.1")


def test_a_network_that_is_none_is_a_wrong_setting() -> None:
    with pytest.raises(ValidationError, match="'office' is no network, expected some such as"):
        DownloadConfig(allowed_networks=("office",))
