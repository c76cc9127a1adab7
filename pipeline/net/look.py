"""A file from outside, looked at before anybody fetches gigabytes: is it there, how large is it, how does it begin?"""

import time
import zlib
from contextlib import closing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.net.fetch import fetch_settings, is_web_address
from schemas.status import ImageStatus

if TYPE_CHECKING:
    from pipeline.net.long_body import LongBody

_BLOCK_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_AS_GZIP = 16 + zlib.MAX_WBITS
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LATE = "no whole answer within {:g} s"


@dataclass(frozen=True)
class OutsideFile:
    """A file from outside that settings name, and what is known of it before it is read.

    Attributes:
        setting: dotted key of the setting.
        address: http(s) address, or a path.
        kept: where it lies once it was fetched; None for a path.
        sha256: expected hash, or its first digits; None where none is known.
        size_bytes: expected; None where it is not known.
        begins: one of these begins its bytes, packed or plain; empty where anything may.
    """

    setting: str
    address: str
    kept: Path | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    begins: tuple[bytes, ...] = ()

    @property
    def here(self) -> Path | None:
        """Where it lies on this machine, or should; None where it is still to be fetched."""
        if not is_web_address(self.address):
            return Path(self.address).expanduser()
        return self.kept if self.kept is not None and self.kept.is_file() else None


@dataclass(frozen=True)
class Beginning:
    """The first bytes of a file, and what came with them.

    Attributes:
        data: as they lie there; all bytes where the file has no more.
        size_bytes: of the whole file; None where the server does not say.
        fault: why there is no data, with `error` in words; None where there is.
        ahead_s: by how much the server's clock is ahead of this machine's; None where it does not say.
    """

    data: bytes = b""
    size_bytes: int | None = None
    fault: ImageStatus | None = None
    error: str = ""
    ahead_s: float | None = None

    @property
    def whole(self) -> bool:
        """Whether `data` is all of the file."""
        return self.size_bytes == len(self.data)


def beginning(file: OutsideFile, first_bytes: int, budget_s: float) -> Beginning:
    """How a file begins; of one that is to be fetched the server is asked. Never raises for what a server does.

    Raises:
        OSError: a file of this machine is not there, or cannot be read.
    """
    if (path := file.here) is None:
        return _asked(file.address, first_bytes, budget_s)
    with path.open("rb") as opened:
        return Beginning(opened.read(first_bytes), path.stat().st_size)


def plain(data: bytes) -> bytes:
    """Those first bytes without a byte order mark, and unpacked where a gzip stream begins there."""
    if data.startswith(_GZIP):
        try:
            data = zlib.decompressobj(_AS_GZIP).decompress(data, len(data))
        except zlib.error:
            return data
    return data.removeprefix(_BYTE_ORDER_MARK)


class _LateError(Exception):
    """The time is up."""


@dataclass
class _Bounded:
    """Keeps what a body brings, for so long."""

    until: float
    data: bytearray = field(default_factory=bytearray)

    def resumable(self) -> tuple[int, str]:
        """Nothing is there before."""
        return 0, ""

    def begin(self, version: str) -> None:
        """Forget what came of another version."""
        self.data.clear()

    def look(self) -> None:
        """Stop where the time is up."""
        if time.monotonic() >= self.until:
            raise _LateError


def _asked(address: str, first_bytes: int, budget_s: float) -> Beginning:
    from pipeline.net.long_body import BrokenBodyError, LongBody  # libcurl, where nothing may be asked
    from pipeline.net.networks import Networks

    config, kept = fetch_settings(), _Bounded(time.monotonic() + budget_s)
    networks = Networks(config.allowed_networks)
    with closing(LongBody(address, config, networks, typed=True, keeper=kept, first_bytes=first_bytes)) as body:
        try:
            while len(kept.data) < first_bytes and (block := body.read(_BLOCK_BYTES)):
                kept.data += block
        except _LateError:
            return Beginning(fault=ImageStatus.TIMEOUT, error=_LATE.format(budget_s))
        except BrokenBodyError as error:
            return Beginning(fault=error.answer.status, error=str(error), ahead_s=_ahead_s(body))
        ended = body.size_bytes is None and len(kept.data) < first_bytes
        size_bytes = len(kept.data) if ended else body.size_bytes
        return Beginning(bytes(kept.data), size_bytes, ahead_s=_ahead_s(body))


def _ahead_s(body: "LongBody") -> float | None:
    """How far the server's clock is ahead. A cache repeats the time of the first answer, and tells its age."""
    try:
        said = parsedate_to_datetime(body.header(b"date") or "").timestamp()
        return said + int(body.header(b"age") or 0) - time.time()
    except (ValueError, OverflowError):
        return None
