"""Files that a data set's owners publish: at a path, or fetched from their address and kept; plain or gzipped."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.net.fetch import cache_folder, fetch, is_web_address, kept_name
from pipeline.net.look import OutsideFile
from schemas.errors import PipelineError, UsageError

_GZIP = b"\x1f\x8b"


def local_paths(named: dict[str, str]) -> tuple[str, ...]:
    """The files that lie on this machine, of those that settings name; addresses count by their text.

    Args:
        named: path or address by the key of its setting, such as `dataset.seen_labels`.

    Raises:
        UsageError: there is no such file.
    """
    return tuple(str(_existing(key, text)) for key, text in named.items() if not is_web_address(text))


def official_file(key: str, address: str, sha256: str | None = None) -> Path:
    """Where the file lies on this machine; one from the web is fetched at first use, and kept for all work folders.

    Args:
        key: of the setting, for error texts.
        sha256: expected hash, where one is known.

    Raises:
        UsageError: there is no file at the path.
        PipelineError: it could not be fetched.
        IntegrityError: its hash is not the expected one.
    """
    if not is_web_address(address):
        path = _existing(key, address)
        return fetch(str(path), path, sha256, setting=key)
    return fetch(address, _kept(address), sha256, setting=key)


def outside_file(key: str, address: str, sha256: str | None = None, begins: tuple[bytes, ...] = ()) -> OutsideFile:
    """The file that `official_file` gives, for whoever looks before it is fetched.

    Args:
        begins: as `OutsideFile` has it.

    Raises:
        PipelineError: there is no folder to keep fetched files in.
    """
    return OutsideFile(key, address, _kept(address) if is_web_address(address) else None, sha256, begins=begins)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The plain bytes of a file; its first bytes tell whether it is gzipped, whatever its name.

    Raises:
        PipelineError: in the block, it is gzipped and damaged.
    """
    with path.open("rb") as file:
        gzipped = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not gzipped:
            yield file
            return
        try:
            with gzip.open(file) as plain:
                yield cast("BinaryIO", plain)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise PipelineError(
                f"{path}: gzipped, and cut off or damaged ({error})", expected="a whole file", hint="Fetch it again"
            ) from error


def _kept(address: str) -> Path:
    """Where a file from the web is kept: two addresses may end in one name, so a hash tells them apart."""
    apart = sha256_of(address.encode()).hexdigest()[:8]
    return cache_folder() / "datasets" / f"{apart}-{kept_name(address, 'file')}"


def _existing(key: str, text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise UsageError(
            f"{key}: no file {text!r} (seen from {Path.cwd()});",
            expected="a path or an address",
            hint="Check the setting",
        )
    return path.resolve()
