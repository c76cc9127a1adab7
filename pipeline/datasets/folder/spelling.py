r"""Which image a text of the CSV means, however its path is spelled.

A path is first taken as it stands, then without blanks at its ends, with '/' for '\', without './', '//' and 'x/..',
and with letters composed or not: as it is written, so that links need not be looked up. An absolute path (or file://)
counts where one of its folders is a configured one, under whatever name. Two names of one file within a folder, such as
a link beside what it leads to, are two images, as they are in the folder. Letters of another case are other names.
"""

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from html import unescape
from pathlib import Path
from urllib.parse import unquote

from pipeline.datasets.folder.scan import FileKey, Folder, LocalFile, key_of, regular_file

_ADDRESS = re.compile(r"(?!file://)[A-Za-z][A-Za-z0-9+.-]*://", re.IGNORECASE)
_FILE_ADDRESS = re.compile(r"file://[^/]*", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_FILLING = re.compile(r"[\s_-]+")
_QUOTES = re.compile("[\"'`\u2018\u2019\u201c\u201d]")


class UnclearPathError(ValueError):
    """A path that leads out of the folders, or may be two of their files.

    Attributes:
        found: what is wrong with it.
        expected: in its place.
    """

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found, self.expected = found, expected


def is_address(text: str) -> bool:
    """Whether an image is to be fetched, not read from a folder."""
    return "://" in text and _ADDRESS.match(text) is not None


def sounds_like(path: str) -> str:
    """Equal for paths that differ in case, blanks, dashes, quotes, escapes (%20, &#32;) or forms of letters alone."""
    plain = _without_marks(unescape(unquote(path)))
    text = _without_marks(unicodedata.normalize("NFKC", plain)).casefold()
    names = (_FILLING.sub("-", name).strip("-") for name in text.replace("\\", "/").split("/"))
    return "/".join(name for name in names if name not in ("", "."))


class Paths:
    """Finds the files that texts of the CSV mean.

    Args:
        folders: those that are configured, or the CSV's own.
        scanned: the files that were listed in them.
    """

    def __init__(self, folders: Sequence[Folder], scanned: Sequence[LocalFile]) -> None:
        self._folders = folders
        self.scanned = {file.image_id: file for file in scanned}
        self._homes: dict[str, str | None] = {}

    def file(self, spelled: str) -> LocalFile:
        """The file that a text means: a listed one, another below the folders, or one that is not there.

        Raises:
            UnclearPathError: it leads out of the folders, or names two files equally well.
        """
        if spelled in self.scanned:
            return self.scanned[spelled]
        path = self._below_folders(spelled)
        if path in self.scanned:
            return self.scanned[path]
        alike = self._alike.get(_plain(path), [])
        if len(alike) > 1:
            raise UnclearPathError(f"{spelled!r}, which may be {' or '.join(map(repr, alike))}", "one of them as it is")
        return self.scanned[alike[0]] if alike else self._unlisted(spelled, path)

    def _below_folders(self, spelled: str) -> str:
        """An id: where the text leads, after the prefix of its folder if it has one."""
        text = spelled.strip()
        if local := _FILE_ADDRESS.match(text):
            text = unquote(text[local.end() :])
        text = text.replace("\\", "/")
        path = posixpath.normpath(text)
        if path.split("/")[0] not in ("", "..") and not _DRIVE.match(text):
            return path
        places = (
            [path] if path.startswith("/") else [posixpath.normpath(folder.path / path) for folder in self._folders]
        )
        inside = (
            None if _DRIVE.match(text) else next((found for place in places if (found := self._id_of(place))), None)
        )
        if inside is None:
            folders = ", ".join(str(folder.path) for folder in self._folders)
            raise UnclearPathError(f"{spelled!r}, which leads elsewhere", f"a path below {folders}")
        return inside

    def _id_of(self, place: str) -> str | None:
        """The id of an absolute path; None where none of its folders is one of ours."""
        folder, name = posixpath.split(place)
        if folder not in self._homes:
            # As it is written first: a link in a folder of ours may lead elsewhere, a link from elsewhere into it.
            written = self._home(Path(folder))
            self._homes[folder] = self._home(Path(os.path.realpath(folder))) if written is None else written
        home = self._homes[folder]
        return None if home is None else home + name

    def _home(self, folder: Path) -> str | None:
        for ancestor in (folder, *folder.parents):
            key = key_of(ancestor)
            if key is not None and (ours := self._keys.get(key)) is not None:
                below = folder.relative_to(ancestor).as_posix()
                return ours.prefix if below == "." else f"{ours.prefix}{below}/"
        return None

    def _unlisted(self, spelled: str, path: str) -> LocalFile:
        """A file that was not listed, such as a hidden one, or that is not there."""
        as_it_stands = [spelled] if spelled.split("/", 1)[0] not in ("", "..", ".") else []
        forms = [unicodedata.normalize(form, path) for form in ("NFC", "NFD")]
        for image_id in dict.fromkeys([*as_it_stands, path, *forms]):
            place = self._place(image_id)
            if (file := regular_file(image_id, place)) is not None:
                other = self._id_of(f"{os.path.realpath(place.parent)}/{place.name}")
                return self.scanned.get(
                    other or "", file
                )  # an unlisted way to a listed file, such as round in a circle
        return LocalFile(path, str(self._place(path)), None, None)

    def _place(self, image_id: str) -> Path:
        folder = next((ours for ours in self._folders if ours.prefix and image_id.startswith(ours.prefix)), None)
        folder = folder or self._folders[0]
        return folder.path / image_id.removeprefix(folder.prefix)

    @cached_property
    def _alike(self) -> dict[str, list[str]]:
        """Ids of listed files by the plain form of their paths."""
        alike: dict[str, list[str]] = defaultdict(list)
        for image_id in self.scanned:
            alike[_plain(image_id)].append(image_id)
        return dict(alike)

    @cached_property
    def _keys(self) -> dict[FileKey, Folder]:
        return {key: folder for folder in self._folders if (key := key_of(folder.path)) is not None}


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", posixpath.normpath(path.strip().replace("\\", "/")))


def _without_marks(text: str) -> str:
    """Without quotes, and without characters that are not seen, such as a joiner of no width."""
    return "".join(char for char in _QUOTES.sub("", text) if unicodedata.category(char) != "Cf")
