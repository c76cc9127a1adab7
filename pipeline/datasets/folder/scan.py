"""Which files lie in a user's folders. Looks at names, sizes and time stamps; opens nothing."""

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.command import AGAIN, Command
from schemas.errors import PipelineError, UsageError

FileKey = tuple[int, int]  # device and inode

# Suffixes of the formats that are read: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PPM, QOI, DIB, ICO, CUR, TGA.
_IMAGE_SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff",
    ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi",
    ".dib", ".ico", ".cur", ".tga", ".icb", ".vda", ".vst",
}  # fmt: skip


@dataclass(frozen=True)
class LocalFile:
    """A file that may be an image.

    Attributes:
        image_id: path below the folder with forward slashes, after the folder's prefix if it has one.
        path: absolute.
        size_bytes: None where the file cannot be looked at, such as a broken link.
        modified_ns: likewise.
    """

    image_id: str
    path: str
    size_bytes: int | None
    modified_ns: int | None


@dataclass(frozen=True)
class Folder:
    """One of the configured folders: `path`, or `prefix=path`."""

    prefix: str  # with its slash; empty where there is none
    path: Path

    @classmethod
    def parse(cls, text: str) -> "Folder":
        """The folder that a setting names; a '=' after a slash belongs to the path.

        Raises:
            UsageError: there is no such folder.
        """
        before, sign, after = text.partition("=")
        has_prefix = bool(sign and before and "/" not in before)
        path = Path(after if has_prefix else text).expanduser()
        found = _stat(path)
        if not text or found is None or not stat.S_ISDIR(found.st_mode):
            raise UsageError(
                f"dataset.folders: no folder {str(path)!r} (seen from {Path.cwd()});",
                expected="the path of a folder, or prefix=path",
                hint="Set it:",
                run=Command(sets={"dataset.folders": ["PATH"]}),
            )
        path = path.resolve()
        _require_utf8(str(path))
        return cls(f"{before}/" if has_prefix else "", path)

    def files(self, own: Collection[FileKey], left_out: Counter[str]) -> list[LocalFile]:
        """Every regular file at any depth, sorted by its path; names that begin with a dot are left out.

        Links are followed, but for a folder that leads back into itself; a link to nowhere is a file without size.

        Args:
            own: files of the data set itself, such as its CSV, which are no images.
            left_out: counts the names that begin with a dot.

        Raises:
            PipelineError: a folder cannot be read, or a name is not UTF-8.
        """
        here = self.path.stat()
        found = _walk(str(self.path), self.prefix, frozenset({(here.st_dev, here.st_ino)}), own, left_out)
        return sorted(found, key=lambda file: file.image_id)


def regular_file(image_id: str, path: Path) -> LocalFile | None:
    """A file by its path; None where there is none, or something else."""
    found = _stat(path)
    return None if found is None or not stat.S_ISREG(found.st_mode) else _described(image_id, str(path), found)


def key_of(path: Path) -> FileKey | None:
    """What a file or folder is known by under all its names; None where there is none."""
    found = _stat(path)
    return None if found is None else (found.st_dev, found.st_ino)


def is_image_name(name: str) -> bool:
    """Whether a file is called as the formats are that can be read."""
    return name[name.rfind(".") :].lower() in _IMAGE_SUFFIXES


def require_apart(folders: Sequence[Folder]) -> None:
    """No folder is or lies in another one.

    Raises:
        UsageError: one does; the text names both.
    """
    for number, folder in enumerate(folders):
        for other in (*folders[:number], *folders[number + 1 :]):
            if folder.path.is_relative_to(other.path):
                raise UsageError(
                    f"dataset.folders: {folder.path} lies in {other.path}: each of its files would be two images;",
                    expected="folders apart, each once",
                    hint="Leave one out",
                )


def require_distinct(files: Sequence[LocalFile]) -> None:
    """No two files have the same id.

    Raises:
        PipelineError: two have; the text names both.
    """
    paths: dict[str, str] = {}
    for file in files:
        if file.image_id in paths:
            raise PipelineError(
                f"two files have the image id {file.image_id!r}: {paths[file.image_id]} and {file.path};",
                expected="each once",
                hint='Give one folder a prefix: dataset.folders = ["PATH", "PREFIX=PATH"]',
            )
        paths[file.image_id] = file.path


def _walk(
    folder: str, prefix: str, above: frozenset[FileKey], own: Collection[FileKey], left_out: Counter[str]
) -> Iterator[LocalFile]:
    for entry in _entries(folder, left_out):
        found = _stat(entry.path)  # a Path for each would double the time
        if found is not None and stat.S_ISDIR(found.st_mode):
            key = (found.st_dev, found.st_ino)
            if key not in above:
                yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {key}, own, left_out)
        elif found is None or (stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) not in own):
            yield _described(f"{prefix}{entry.name}", entry.path, found)


def _entries(folder: str, left_out: Counter[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            every = list(entries)
    except OSError as error:
        raise PipelineError(
            f"cannot read the folder {folder}: {error.strerror}",
            hint="Make it readable, or take it out of dataset.folders",
        ) from error
    shown = [entry for entry in every if not entry.name.startswith(".")]
    left_out["hidden files and folders"] += len(every) - len(shown)
    for entry in shown:
        _require_utf8(entry.path)
    return shown


def _require_utf8(path: str) -> None:
    """Tables hold UTF-8 only, so another name could never be opened again."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise PipelineError(
            f"a file name is not UTF-8: {os.fsencode(path)!r}",
            hint="Rename it, then run the same command again:",
            run=AGAIN,
        ) from error


def _stat(path: Path | str) -> os.stat_result | None:
    """What the system says of a file, links followed; None where it says no."""
    try:
        return os.stat(path)  # noqa: PTH116 - see `_walk`
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return None


def _described(image_id: str, path: str, found: os.stat_result | None) -> LocalFile:
    if found is None:
        return LocalFile(image_id, path, None, None)
    return LocalFile(image_id, path, found.st_size, found.st_mtime_ns)
