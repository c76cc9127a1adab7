"""A file from outside (weights, word vectors, lists), fetched once, whole, and checked.

For few and large files: one connection, resumed after a fault and by the next process. Images go through `client`.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pipeline.files.refusals import refusals_named
from pipeline.files.storage import sha256_file
from pipeline.machine import stopping
from pipeline.machine.environment import home
from pipeline.machine.telling import counted, tell
from schemas.config import DownloadConfig
from schemas.errors import IntegrityError, PipelineError
from schemas.readable import printable

if TYPE_CHECKING:
    from pipeline.net.long_body import LongBody

CACHE_VARIABLE = "BIAM_PIPE_CACHE"

_BLOCK_BYTES = 1 << 20
_SHOWN = 1000  # characters of an address, or of what a file holds in a hash's place
_NAME_CHARACTERS = 80  # of the 255 bytes that a file system takes, less what stands before and after
_UNFIT = re.compile(r"[^\w.,+=@%-]", re.ASCII)
_HASH = re.compile("[0-9a-fA-F]{8,64}")  # torchvision's file names carry the first 8 digits

_config: ContextVar[DownloadConfig | None] = ContextVar("download", default=None)


@contextmanager
def fetching(config: DownloadConfig) -> Iterator[None]:
    """In this block, `fetch` in this thread obeys these settings and not the defaults.

    Not an argument of `fetch`: data sets and backbones fetch what they need, and know no settings but their own.
    """
    before = _config.set(config)
    try:
        yield
    finally:
        _config.reset(before)


def fetch_settings() -> DownloadConfig:
    """The settings that `fetch` obeys in this thread."""
    return _config.get() or DownloadConfig()


def cache_folder() -> Path:
    """Where fetched files are kept for all work folders: `$BIAM_PIPE_CACHE`, else `~/.cache/biam-pipe`.

    Raises:
        PipelineError: there is neither.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    if (folder := home()) is None:
        raise PipelineError(
            "this user has no home folder to keep fetched files in", hint=f"Set {CACHE_VARIABLE} to a folder"
        )
    return folder / ".cache" / "biam-pipe"


def is_web_address(address: str) -> bool:
    """Whether it starts with http:// or https://, blanks before it apart."""
    return address.lstrip().lower().startswith(("http://", "https://"))


def fetch(address: str, target: Path, sha256: str | None = None, *, setting: str = "") -> Path:
    """Where the file lies, whole and checked: `target` for a web address, while a local path stays where it is.

    A target that is there is not fetched again. Without `sha256` the hash is recorded beside the target at first use
    (`<target>.sha256`) and checked from then on. Several threads and processes may ask for one target: one fetches, the
    others wait. What a killed attempt left is resumed where the server can prove that the file is still the same.

    Args:
        address: http(s) address or local path. It stands in the settings or is a default of ours, so that it may lie in
            a private network; what it redirects to lies in one of `download.allowed_networks`, if not in public.
        sha256: expected hash, or at least its first 8 hex digits.
        setting: key of the setting that may name a local copy instead, for error texts.

    Raises:
        PipelineError: there is no such file, or it could not be fetched.
        IntegrityError: its hash is not the expected one.
        InterruptedRunError: asked to stop; the next call goes on from there.
    """
    if sha256 is not None and not _HASH.fullmatch(sha256):
        raise PipelineError(f"hash of {printable(address)}: got {sha256!r}, expected 8 to 64 hex digits of its sha256")
    if not is_web_address(address):
        if not Path(address).is_file():
            raise PipelineError(f"no file at {printable(address)}, expected one. Check {setting or 'its path'}")
        _check(Path(address), sha256, "Replace the file or the expected hash")
        return Path(address)
    record = _beside(target, ".sha256")
    if not target.exists():
        with refusals_named(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_beside(target, ".lock")):
            if not target.exists():
                partial, state = _beside(target, ".partial"), _beside(target, ".partial.json")
                with refusals_named(partial), partial.open("ab") as file:
                    _complete(_Partial(address, file, state), _way_out(target, setting, "Download it by hand to"))
                _commit(address, partial, target, sha256)
                state.unlink(missing_ok=True)
                return target
    _check(target, _expected(sha256, record), f"Remove {target} and {record.name} beside it to have it fetched again")
    return target


def kept_name(address: str, default: str) -> str:
    """Name, for a folder of fetched files, of the file at a web address.

    Args:
        default: where the address ends without one.
    """
    path = re.split("[?#]", address.strip(), maxsplit=1)[0].partition("://")[2].partition("/")[2]
    return _UNFIT.sub("_", path.rpartition("/")[2])[-_NAME_CHARACTERS:] or default


@dataclass
class _Partial:
    """The bytes of a file on its way.

    Attributes:
        state: says which address they came from, and what the server called that version of the file.
    """

    address: str
    file: BinaryIO
    state: Path

    def resumable(self) -> tuple[int, str]:
        """Bytes that need not be fetched again, and the version that they belong to."""
        size_bytes = self.file.seek(0, os.SEEK_END)
        if not size_bytes or not self.state.exists():
            return 0, ""
        try:
            state = json.loads(self.state.read_text())
            address, version = state["address"], str(state["version"])
        except (ValueError, KeyError, TypeError):  # torn: nobody can tell what the bytes are of
            return 0, ""
        return (size_bytes, version) if address == self.address and version else (0, "")

    def begin(self, version: str) -> None:
        """Forget all bytes, then remember the version: old bytes never stand under a new one."""
        self.file.truncate(0)
        self.state.write_text(json.dumps({"address": self.address, "version": version}))

    def look(self) -> None:
        """Stop where that was asked for."""
        stopping.heed(None)


def _complete(partial: _Partial, way_out: str) -> None:
    """Fetch until all bytes are there, or raise with the way out."""
    from pipeline.net.long_body import BrokenBodyError, LongBody  # libcurl and asyncio, where nothing may be fetched
    from pipeline.net.networks import Networks

    config = fetch_settings()
    networks = Networks(config.allowed_networks)
    with closing(LongBody(partial.address, config, networks, typed=True, keeper=partial)) as body:
        try:
            while block := body.read(_BLOCK_BYTES):
                partial.file.write(block)
                tell(body.place, body.size_bytes, f"fetching {counted(body.place, body.size_bytes, 'bytes')}")
        except BrokenBodyError as error:
            told = f"could not fetch {_short(partial.address)}: got {error}{_circumstances(body)}. {way_out}"
            raise PipelineError(printable(told)) from error


def _circumstances(body: "LongBody") -> str:
    """Where and when the body broke, for the error text."""
    led = body.redirected_to
    where = "" if led is None else f", redirected to {_short(led.partition('?')[0])}"
    whole = "" if body.size_bytes is None else f" of {body.size_bytes}"
    return where + (f", after {body.place}{whole} bytes" if body.place else "")


def _commit(address: str, partial: Path, target: Path, sha256: str | None) -> None:
    """Check the whole file, record its hash, then let it stand under its name."""
    record = _beside(target, ".sha256")
    try:
        way_out = f"It came from {_short(address)} and was thrown away. Correct the expected hash, or remove {record}"
        digest = _check(partial, _expected(sha256, record), way_out)
    except IntegrityError:
        partial.unlink()
        _beside(target, ".partial.json").unlink(missing_ok=True)
        raise
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    record.write_text(digest + "\n")
    partial.rename(target)


def _check(path: Path, expected: str | None, way_out: str) -> str:
    """The file's hash, which starts with the expected one."""
    digest = sha256_file(path)
    if expected is not None and not digest.startswith(expected.lower()):
        raise IntegrityError(printable(f"{path}: got sha256 {digest}, expected {expected[:_SHOWN]}. {way_out}"))
    return digest


def _expected(sha256: str | None, record: Path) -> str | None:
    """The given hash, else the one of the file's first use."""
    if sha256 is None and record.exists():
        return record.read_text().strip()
    return sha256


def _short(address: str) -> str:
    """The address, or the start of a very long one."""
    return address if len(address) <= _SHOWN else f"{address[:_SHOWN]}..."


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
