"""The images that a user names: files, folders, patterns, addresses, or a list of these on stdin."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path

from pipeline.datasets.folder.scan import is_image_name
from pipeline.net.fetch import is_web_address
from schemas.readable import printable
from schemas.status import ImageStatus

STDIN = "-"
_DEEP = "**"  # of a pattern: any number of folders


@dataclass(frozen=True)
class AskedImage:
    """An image that is to be looked at.

    Attributes:
        name: its path or address.
        status: why there is nothing to look at; None where there may be.
        error: the same in words.
    """

    name: str
    status: ImageStatus | None = None
    error: str | None = None

    @property
    def is_address(self) -> bool:
        """Whether it is to be fetched."""
        return is_web_address(self.name)


def asked_images(names: Sequence[str], lines: Iterable[str] | None = None) -> list[AskedImage]:
    """Every image once, in the order in which they are named; of folders and patterns in the order of their paths.

    Args:
        names: as typed; `-` stands for the lines of a list.
        lines: that list, one name a line; None for stdin.
    """
    every = [image for name in _listed(names, _stdin() if lines is None else lines) for image in _meant(name)]
    return list({image.name: image for image in every}.values())


def _stdin() -> Iterator[str]:
    """The lines on stdin as names of files, which may be any bytes; a byte order mark is none of the first."""
    for number, line in enumerate(sys.stdin.buffer):
        yield os.fsdecode(line if number else line.removeprefix(b"\xef\xbb\xbf"))


def _listed(names: Sequence[str], lines: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name == STDIN:
            yield from (line for line in (line.rstrip("\r\n") for line in lines) if line.strip())
        else:
            yield name


def _meant(name: str) -> Iterator[AskedImage]:
    if is_web_address(name):
        yield AskedImage(name.strip())
        return
    path = Path(name)
    if path.is_dir():
        found = list(_folder(path))
        missing = "a folder without image files"
    elif path.exists() or not has_magic(name):  # a name may hold brackets, too
        found, missing = [_file(name)], ""
    else:
        found = list(map(_file, sorted(_matches(name))))
        missing = "no image file matches this pattern"
    yield from found
    if not found:
        yield AskedImage(printable(name), ImageStatus.MISSING_FILE, missing)


def _file(name: str) -> AskedImage:
    """A file by its name; table and page hold UTF-8 only, so another name could never be found again."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return AskedImage(printable(name), ImageStatus.UNREADABLE_FILE, "its name is not UTF-8: rename it")
    return AskedImage(name)


def _matches(pattern: str) -> Iterator[str]:
    """The image files that a pattern means. Links that lead back would keep `glob` busy for ever below a `**`."""
    parts = pattern.split("/")
    if _DEEP not in parts:
        matches = glob(pattern)  # noqa: PTH207 - a pattern may be absolute
        yield from (match for match in matches if is_image_name(match) and Path(match).is_file())
        return
    start = parts.index(_DEEP)
    tops = glob(f"{'/'.join(parts[:start])}/") if start else ["."]  # noqa: PTH207 - likewise
    for top in tops:
        for file in _below(Path(top), []):
            if _fits(file.relative_to(top).parts, parts[start:]):
                yield str(file)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path is one that a pattern means, folder by folder; `**` is any number of them."""
    if not pattern or not parts:
        return not parts and all(part == _DEEP for part in pattern)
    if pattern[0] == _DEEP:
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _folder(folder: Path) -> Iterator[AskedImage]:
    """The image files of a folder, by their paths; a folder that cannot be read is an image that could not be used."""
    refused: list[OSError] = []
    yield from map(_file, sorted(map(str, _below(folder, refused))))
    for error in refused:
        told = (error.strerror or "input/output error").lower()
        yield AskedImage(printable(str(error.filename)), ImageStatus.UNREADABLE_FILE, told)


def _below(folder: Path, refused: list[OSError]) -> Iterator[Path]:
    """The image files of a folder at any depth; names that begin with a dot are left out.

    Links are followed, as in a data set, but for a folder that leads back into itself.

    Args:
        refused: takes what the system says of folders that cannot be read.
    """
    for inside, folders, names in os.walk(folder, followlinks=True, onerror=refused.append):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(Path(inside, name))]
        yield from (Path(inside, name) for name in names if is_image_name(name) and not name.startswith("."))


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in."""
    real = os.path.realpath
    return folder.is_symlink() and real(folder) in {real(parent) for parent in folder.parents}
