"""A file from outside (weights, word vectors, lists), fetched once, whole, and checked.

For few and large files: one connection, resumed after a fault. Images go through `client`.
"""

import fcntl
import http.client
import json
import logging
import os
import random
import re
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from pipeline.files.storage import sha256_file
from pipeline.machine import stopping
from schemas.errors import IntegrityError, PipelineError

CACHE_VARIABLE = "BIAM_PIPE_CACHE"

_BLOCK_BYTES = 1 << 20
_SILENCE_S = 60.0  # a large file may take hours; a connection that says nothing for so long is dead
_HASH = re.compile("[0-9a-fA-F]{8,64}")  # torchvision's file names carry the first 8 digits
_FAULTS = (URLError, TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException)

_log = logging.getLogger("biam_pipe.fetch")


def cache_folder() -> Path:
    """Where fetched files are kept for all work folders: `$BIAM_PIPE_CACHE`, else `~/.cache/biam-pipe`."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "biam-pipe"


def is_web_address(address: str) -> bool:
    """Whether it starts with http:// or https://."""
    return address.lower().startswith(("http://", "https://"))


def proxy_for(address: str) -> str | None:
    """The proxy that the environment names for this address; None for a direct connection.

    Loopback is always direct: the demo's server is there, and no proxy can reach it.
    """
    split = urlsplit(address)
    host = split.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(split.scheme)


def fetch(
    address: str,
    target: Path,
    sha256: str | None = None,
    *,
    setting: str = "",
    attempts: int = 4,
    backoff_s: float = 1.0,
) -> Path:
    """Where the file lies, whole and checked: `target` for a web address, while a local path stays where it is.

    A target that is there is not fetched again. Without `sha256` the hash is recorded beside the target at first use
    (`<target>.sha256`) and checked from then on. Several threads and processes may ask for one target: one fetches, the
    others wait. What a killed attempt left is resumed where the server can prove that the file is still the same.

    Args:
        address: http(s) address or local path.
        sha256: expected hash, or at least its first 8 hex digits.
        setting: key of the setting that may name a local copy instead, for error texts.
        attempts: for passing faults; the waits between them double from `backoff_s`, with jitter.

    Raises:
        PipelineError: there is no such file, or it could not be fetched.
        IntegrityError: its hash is not the expected one.
    """
    if sha256 is not None and not _HASH.fullmatch(sha256):
        raise PipelineError(f"hash of {address}: got {sha256!r}, expected 8 to 64 hex digits of its sha256")
    if not is_web_address(address):
        if not Path(address).is_file():
            raise PipelineError(f"no file at {address}, expected one. Check {setting or 'its path'}")
        _check(Path(address), sha256, "Replace the file or the expected hash")
        return Path(address)
    record = _beside(target, ".sha256")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_beside(target, ".lock")):
            if not target.exists():
                transfer = _Transfer(address, _beside(target, ".partial"), _beside(target, ".partial.json"))
                transfer.complete(attempts, backoff_s, _way_out(target, setting, "Download it by hand to"))
                transfer.commit(target, record, sha256)
                return target
    _check(target, _expected(sha256, record), f"Remove {target} and {record.name} beside it to have it fetched again")
    return target


@dataclass
class _Transfer:
    """One file on its way.

    Attributes:
        partial: the bytes that came so far.
        state: which address they came from, and what the server called that version of the file.
    """

    address: str
    partial: Path
    state: Path

    def complete(self, attempts: int, backoff_s: float, way_out: str) -> None:
        """Fetch until `partial` is whole, or raise with the way out."""
        _log.info("fetching %s", self.address)
        for attempt in range(attempts):
            try:
                self._attempt()
            except _FAULTS as error:
                if attempt + 1 == attempts or not self._passing(error):
                    raise PipelineError(f"could not fetch {self.address}: got {_found(error)}. {way_out}") from error
                time.sleep(backoff_s * 2**attempt * random.uniform(0.5, 1.0))
            else:
                return

    def commit(self, target: Path, record: Path, sha256: str | None) -> None:
        """Check the whole file, record its hash, then let it stand under its name."""
        try:
            way_out = f"It came from {self.address} and was thrown away. Correct the expected hash, or remove {record}"
            digest = _check(self.partial, _expected(sha256, record), way_out)
        except IntegrityError:
            self._discard()
            raise
        with self.partial.open("rb") as file:
            os.fsync(file.fileno())
        record.write_text(digest + "\n")
        self.partial.rename(target)
        self.state.unlink(missing_ok=True)

    def _attempt(self) -> None:
        have, version = self._resumable()
        opener = _opener(self.address)
        if have:
            opener.addheaders += [("Range", f"bytes={have}-"), ("If-Range", version)]
        with opener.open(self.address, timeout=_SILENCE_S) as response:
            resumed = response.status == http.client.PARTIAL_CONTENT
            if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                self._discard()
                raise http.client.HTTPException("an answer for another range than the one asked for")
            length = response.headers.get("Content-Length")
            with self.partial.open("ab" if resumed else "wb") as file:
                if not resumed:  # after the truncation above, so that old bytes never stand under a new version
                    self._remember(response.headers)
                _copy(response, file)
        size = self.partial.stat().st_size
        if length is not None and size != (whole := int(length) + (have if resumed else 0)):
            raise http.client.HTTPException(f"{size} of {whole} bytes")

    def _resumable(self) -> tuple[int, str]:
        """Bytes that need not be fetched again, and the version that they belong to."""
        if not self.partial.exists() or not self.state.exists():
            return 0, ""
        state = json.loads(self.state.read_text())
        if state["address"] != self.address or not state["version"]:
            return 0, ""
        return self.partial.stat().st_size, state["version"]

    def _remember(self, headers: Any) -> None:
        tag = headers.get("ETag", "")
        # A weak tag does not promise equal bytes, and If-Range must not carry one (RFC 9110, section 13.1.5).
        version = headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
        self.state.write_text(json.dumps({"address": self.address, "version": version}))

    def _discard(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)

    def _passing(self, error: Exception) -> bool:
        if not isinstance(error, HTTPError):
            return True
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._discard()  # killed after the last byte, before the rename: nothing is left to ask for
            return True
        return error.code == http.client.TOO_MANY_REQUESTS or error.code >= http.client.INTERNAL_SERVER_ERROR


def _opener(address: str) -> urllib.request.OpenerDirector:
    """Opens http and https and nothing else: urllib's default one also redirects to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(None if proxy_for(address) else {}),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "biam-pipe")]
    return opener


def _found(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    return str(error.reason if isinstance(error, URLError) else error) or type(error).__name__


def _copy(response: Any, file: Any) -> None:
    while block := response.read(_BLOCK_BYTES):
        file.write(block)
        if (why := stopping.reason(None)) is not None:
            raise why


def _check(path: Path, expected: str | None, way_out: str) -> str:
    """The file's hash, which starts with the expected one."""
    digest = sha256_file(path)
    if expected is not None and not digest.startswith(expected.lower()):
        raise IntegrityError(f"{path}: got sha256 {digest}, expected {expected}. {way_out}")
    return digest


def _expected(sha256: str | None, record: Path) -> str | None:
    """The given hash, else the one of the file's first use."""
    if sha256 is None and record.exists():
        return record.read_text().strip()
    return sha256


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _way_out(target: Path, setting: str, verb: str) -> str:
    other = f", or set {setting} to the path of a copy" if setting else ""
    return f"{verb} {target}{other}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system drops when the holder dies; the empty file stays, since removing it would race."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
