"""Which images lie in a folder, in either naming. Looks at names, sizes and time stamps; opens nothing."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import PipelineError

_DEPTH = 3  # the configured folder, Flickr in it, actor in that: links are followed, so that the depth needs an end


@dataclass(frozen=True)
class Picture:
    """A local file.

    Attributes:
        path: absolute.
        size_bytes: when it was looked at.
        modified_ns: likewise.
    """

    path: str
    size_bytes: int
    modified_ns: int


def find_pictures(folder: Path, image_ids: Iterable[str]) -> dict[str, Picture]:
    """The file of each image that is there.

    A file is the image `actor/0002_1.jpg` if it bears that name in a folder `actor`, or is named `actor_0002_1.jpg`,
    whatever its folder. Where an image has several, the first in the order of their paths counts.
    """
    flat = {image_id.replace("/", "_"): image_id for image_id in image_ids}
    named = set(flat.values())
    found: dict[str, Picture] = {}
    for picture in _pictures(folder, _DEPTH):
        name = "/".join(picture.path.split("/")[-2:])
        image_id = name if name in named else flat.get(name.split("/")[1])
        if image_id is not None:
            found.setdefault(image_id, picture)
    return found


def look(folder: Path) -> str:
    """Hash of names, sizes and time stamps of all files: equal while the folder stays as it is."""
    digest = hashlib.sha256()
    for picture in _pictures(folder, _DEPTH):
        line = f"{picture.path}\t{picture.size_bytes}\t{picture.modified_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _pictures(folder: Path, depth: int) -> Iterator[Picture]:
    """Regular files, sorted by path within each folder."""
    try:
        with os.scandir(folder) as entries:
            known = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise PipelineError(
            f"cannot read the folder {folder}: {error.strerror}",
            hint="Make it readable, or set dataset.images to another",
        ) from error
    for entry in known:
        if entry.is_file():
            seen = entry.stat()
            yield Picture(entry.path, seen.st_size, seen.st_mtime_ns)
        elif depth > 1 and entry.is_dir():
            yield from _pictures(Path(entry.path), depth - 1)
