"""An address as it is sent: judged once, in the characters that a request may hold, its host in one spelling.

Python, libcurl, resolvers and proxies read odd hosts each in its own way: `0x7f.1`, full-width digits, `%31`, `a@b@c`.
What leaves here is read alike by all of them, so that the host that was judged is the one that is asked.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote, urljoin, urlsplit

INVALID = "not a valid address"

_LONGEST = 2**16  # characters; servers take some 8,000, and libcurl raises at 8 million
_SAFE = "!$%&'()*+,/:;=?@[]~"
_SAFE_IN_USER = "!$%&'()*+,;=:~"
_SENDABLE = re.compile(rf"[\w.{re.escape(_SAFE)}-]*", re.ASCII)  # 1 us, where quoting takes 4
_PLACE = re.compile("[^/?#]*(?://[^/?#]*)?")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_NUMBER = re.compile("0x[0-9a-f]*|[0-9]+")
_ZONE = re.compile("[A-Za-z0-9._~-]+")
_HOSTS_KNOWN = 1024  # a few serve all images


class AddressError(ValueError):
    """No request can carry this address; the text says why, and holds nothing of it that a terminal would obey."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request goes to.

    Attributes:
        address: as it is sent, without a fragment.
        host: as it is sent; IPv4 as four numbers, IPv6 without brackets, names in their IDNA form.
        origin: scheme, host and port.
    """

    address: str
    host: str
    origin: str

    @property
    def file_name(self) -> str:
        """What follows the last slash of the path."""
        return self.address.partition("?")[0].rpartition("/")[2]


def judged(text: str, base: str | None = None) -> Target:
    """The target that an address names; blanks around it do not count.

    Args:
        base: address of the answer that holds the text, which may be relative to it.

    Raises:
        AddressError: there is none.
    """
    text = text.strip()
    if len(text) > _LONGEST:
        raise AddressError(f"an address of {len(text)} characters, expected {_LONGEST} at most")
    if _CONTROL.search(text):
        raise AddressError("an address with a control character")
    try:
        return _target(text if base is None else urljoin(base, text))
    except AddressError:
        raise
    except ValueError as error:  # of Python's own readers, whose words quote the address
        raise AddressError(INVALID) from error


def _target(text: str) -> Target:
    place = _PLACE.match(text)
    assert place is not None, "it matches nothing, too"
    begin, host, origin = _begin(place[0])
    rest = text[place.end() :].partition("#")[0]
    rest = rest if rest.startswith("/") else f"/{rest}"
    return Target(begin + (rest if _SENDABLE.fullmatch(rest) else quote(rest, safe=_SAFE)), host, origin)


@lru_cache(_HOSTS_KNOWN)
def _begin(place: str) -> tuple[str, str, str]:
    """What stands before the path, as it is sent; the host; and the origin."""
    split = urlsplit(place)
    if split.scheme not in ("http", "https"):
        raise AddressError(f"expected an http(s) address, got the scheme {split.scheme[:16]!r}")
    user, at, server = split.netloc.rpartition("@")
    name = server if server.endswith("]") else re.sub(":[0-9]*$", "", server)
    if not name:
        raise AddressError("an address without a host")
    host = _host(name)
    port = "" if split.port is None else f":{split.port}"
    sent = f"{f'[{host}]' if ':' in host else host}{port}"
    origin = f"{split.scheme}://{sent}"
    return f"{split.scheme}://{quote(user, safe=_SAFE_IN_USER)}@{sent}" if at else origin, host, origin


def _host(text: str) -> str:
    """The one spelling of a host.

    Source: the host parser of https://url.spec.whatwg.org, which reads numbers as resolvers do.
    """
    if text.startswith("["):
        return _ipv6(text)
    name = unquote(text, errors="strict")
    name = (name if name.isascii() else name.encode("idna").decode()).lower()
    if not _NAME.fullmatch(name):
        raise ValueError(text)
    labels = name.removesuffix(".").split(".")
    return _ipv4(labels) if _NUMBER.fullmatch(labels[-1]) else name


def _ipv6(text: str) -> str:
    literal, percent, zone = text[1:-1].partition("%")
    zone = zone.removeprefix("25")
    if percent and not _ZONE.fullmatch(zone):
        raise ValueError(text)
    return f"{ipaddress.IPv6Address(literal)}{f'%25{zone}' if percent else ''}"


def _ipv4(labels: list[str]) -> str:
    """Four numbers for one to four of any base, of which the last fills the bytes that are left."""
    *firsts, last = [_number(label) for label in labels]
    if len(firsts) > 3 or any(number > 255 for number in firsts) or last >= 256 ** (4 - len(firsts)):
        raise ValueError(".".join(labels))
    return str(ipaddress.IPv4Address(sum(number << 24 - 8 * place for place, number in enumerate(firsts)) + last))


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)
