"""Reads the lists: names of labels, ids of images, and addresses at Flickr. All are text, mostly with CRLF."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from schemas.errors import PipelineError

_ANEW = "Extract its archive again"

Addresses = tuple[tuple[str, str], ...]  # (size, address), best first

_URL_COLUMNS = ("large", "middle", "small", "original")
_URL_LINE = re.compile(r"(\S.*?\.jpg)\s+(.*)", re.IGNORECASE)
# Flickr names sizes in its files: 1_a_b.jpg is large, 1_a.jpg middle. Others (_t, _s) are thumbnails.
_SIZE_LETTER = re.compile(r"_([a-z])\.[a-z]+$")
_SIZE_OF_LETTER = {"b": "large", "m": "small", "o": "original"}


def read_names(path: Path) -> tuple[str, ...]:
    """One name a line, in the order of the file.

    Raises:
        PipelineError: a name that stands there twice, or a file without names.
    """
    names = tuple(line.strip() for line in _lines(path) if line.strip())
    if not names:
        raise PipelineError(f"{path}:", found="no names", expected="one a line", hint=_ANEW)
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise PipelineError(f"{path}:", found=f"{twice!r} twice", expected="each name once", hint=_ANEW)
    return names


def read_image_ids(path: Path) -> list[str]:
    """One `folder/file` a line, in the order of the file.

    Raises:
        PipelineError: a line without a folder and a file.
    """
    ids = []
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            image_id = _image_id(line)
            if image_id is None:
                raise PipelineError(
                    f"{path}, line {number}:",
                    found=repr(line.strip()),
                    expected=r"a folder and a file such as actor\0002_174174086.jpg",
                    hint=_ANEW,
                )
            ids.append(image_id)
    return ids


def read_addresses(
    path: Path, sizes: Sequence[str], wanted: Collection[str], left_out: Counter[str]
) -> dict[str, Addresses]:
    """Where each image can be had, in the order of `sizes`; `null` and images without any address are left out.

    A line without exactly four addresses or nulls has lost its columns: there, Flickr's file names tell the sizes.

    Args:
        path: the file; lines that begin with % are its header.
        sizes: names of the columns to use.
        wanted: ids of images; others are left out.
        left_out: counts the lines that name no image.

    Raises:
        PipelineError: no line of the file names an image.
    """
    found: dict[str, Addresses] = {}
    read = malformed = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip() or line.startswith("%"):
                continue
            match = _URL_LINE.match(line)
            image_id = match and _image_id(match[1])
            if not match or not image_id:
                malformed += 1
                continue
            read += 1
            if image_id in wanted and image_id not in found and (addresses := _addresses(match[2], sizes)):
                found[image_id] = addresses
    if not read:
        raise PipelineError(
            f"{path}:",
            found=f"no line with an image (of {malformed} lines)",
            expected=r"lines such as C:\ImageData\Flickr\actor\0001_2124494179.jpg 2124494179 http://..",
            hint="Check dataset.urls",
        )
    left_out["lines of the URL file without an image"] += malformed
    return found


def _addresses(columns: str, sizes: Sequence[str]) -> Addresses:
    texts = [text for text in columns.split() if text == "null" or text.startswith("http")]
    if len(texts) == len(_URL_COLUMNS):
        by_size = dict(zip(_URL_COLUMNS, texts, strict=True))
    else:
        by_size = {_size(text): text for text in texts if text != "null"}
    return tuple((size, by_size[size]) for size in sizes if by_size.get(size, "null") != "null")


def _size(address: str) -> str:
    letter = _SIZE_LETTER.search(address)
    return _SIZE_OF_LETTER.get(letter[1], "thumbnail") if letter else "middle"


def _image_id(text: str) -> str | None:
    r"""`folder/file` of a path with either slash and any prefix, such as C:\ImageData\Flickr\."""
    names = text.strip().replace("\\", "/").split("/")
    return "/".join(names[-2:]) if len(names) > 1 and all(names[-2:]) else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise PipelineError(
            f"cannot read {path}: {error.strerror}", hint="Make it readable, or extract it again"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PipelineError(
            f"{path}, line {line}:",
            found=f"the byte 0x{error.object[error.start]:02x}",
            expected="UTF-8 text",
            hint=_ANEW,
        ) from error
