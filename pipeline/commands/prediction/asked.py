"""The images that a user names: files, folders, patterns, addresses, or a list of these on stdin."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from os import walk
from pathlib import Path

from pipeline.datasets.folder.scan import is_image_name
from pipeline.net.fetch import is_web_address
from schemas.status import ImageStatus

STDIN = "-"


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
    every = [image for name in _listed(names, sys.stdin if lines is None else lines) for image in _meant(name)]
    return list({image.name: image for image in every}.values())


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
        found = _below(path)
        missing = "a folder without image files"
    elif path.exists() or not has_magic(name):  # a name may hold brackets, too
        found, missing = [name], ""
    else:
        found = sorted(match for match in glob(name, recursive=True) if Path(match).is_file() and is_image_name(match))  # noqa: PTH207 - a pattern may be absolute
        missing = "no image file matches this pattern"
    yield from map(AskedImage, found)
    if not found:
        yield AskedImage(name, ImageStatus.MISSING_FILE, missing)


def _below(folder: Path) -> list[str]:
    """The image files of a folder at any depth; names that begin with a dot are left out."""
    found = []
    for inside, folders, names in walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [str(Path(inside, name)) for name in names if is_image_name(name) and not name.startswith(".")]
    return sorted(found)
