"""Takes out of a file what stands beside its pixels, so that no broken or huge metadata costs an image.

The orientation is the one thing in it that counts. Sources: ITU-T T.81 annex B (JPEG), the PNG specification (third
edition) section 11, EXIF 2.32 section 4.6, XMP part 1.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Literal

from pipeline.images.jpeg import END, SCAN, SEVERAL_PICTURES, segments

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_BESIDE = frozenset({*range(0xE0, 0xF0), 0xFE})  # application segments and comments
# But those by which libjpeg tells colours, JFIF (APP0) and Adobe (APP14): how they begin, and the bytes that it wants.
# Shorter ones are nothing to it, and an error to Pillow.
_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
_APP1 = 0xE1
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_KEYWORD, _RAW_KEYWORDS = b"XML:com.adobe.xmp", (b"Raw profile type exif", b"Raw profile type APP1")
_MOST_TEXT_BYTES = 1 << 20  # of compressed text that is looked through for an orientation

_ORIENTATION = 0x0112
_NUMBERS = {1: 1, 3: 2, 4: 4, 9: 4}  # EXIF types that are whole numbers: bytes of each
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_UPRIGHT = 1
_IN_XMP = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([0-9])")


@dataclass(frozen=True)
class _Form:
    """How a TIFF structure is laid out, in bytes.

    Attributes:
        pointer: where it says where its first directory is.
        count_bytes: of the number of entries.
        value: where in an entry its value is.
    """

    pointer: slice
    count_bytes: int
    entry_bytes: int
    value: int


_FORMS = {42: _Form(slice(4, 8), 2, 12, 8), 43: _Form(slice(8, 16), 8, 20, 12)}  # TIFF and EXIF; BigTIFF


@dataclass(frozen=True)
class Bare:
    """A file without what stands beside its pixels.

    Attributes:
        data: what is left of the bytes; all of them where the format keeps metadata elsewhere.
        exif: the EXIF block, a TIFF structure, empty where there was none.
        xmp: the XMP block, empty where there was none.
        several_pictures: whether an index of more pictures behind the first was left out.
    """

    data: bytes
    exif: bytes = b""
    xmp: bytes = b""
    several_pictures: bool = False


def bare(data: bytes) -> Bare:
    """The file without metadata. One that is not built as its format asks for stays as it is: its reader judges it."""
    if data.startswith(_JPEG):
        return _bare_jpeg(data)
    if data.startswith(_PNG):
        return _bare_png(data)
    return Bare(data)


def orientation(exif: bytes, xmp: bytes) -> int:
    """How the picture was stored, 1 to 8 as in EXIF; 1, upright, where nobody says or what is said cannot be read."""
    found = _of_exif(exif.removeprefix(_EXIF))
    if found is None and (match := _IN_XMP.search(xmp)):
        found = int(match[1])
    return found if found is not None and 1 <= found <= 8 else _UPRIGHT


def _bare_jpeg(data: bytes) -> Bare:
    kept, exif, xmp, several = [data[:2]], b"", b"", False
    for marker, start, end in segments(data):
        if marker in (SCAN, END):
            return Bare(b"".join([*kept, data[start:]]), exif, xmp, several)
        if marker not in _BESIDE or _tells_colours(data, marker, start, end):
            kept.append(data[start:end])
        elif marker == _APP1:
            block = data[start + 4 : end]
            if block.startswith(_EXIF):
                exif += block.removeprefix(_EXIF)  # one block may go over several segments
            elif block.startswith(_XMP) and not xmp:
                xmp = block.removeprefix(_XMP)
        elif data.startswith(SEVERAL_PICTURES, start + 4):
            several = True
    return Bare(data)


def _tells_colours(data: bytes, marker: int, start: int, end: int) -> bool:
    begin, least_bytes = _COLOURS.get(marker, (b"", 0))
    return bool(begin) and data.startswith(begin, start + 4) and end - start - 4 >= least_bytes


def _bare_png(data: bytes) -> Bare:
    kept, exif, xmp = [_PNG], b"", b""
    position = len(_PNG)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4])
        kind, content = data[position + 4 : position + 8], data[position + 8 : end - 4]
        if end > len(data):
            break
        if kind[:1].isupper():  # the others a reader may skip; transparency too, which changes no colour
            kept.append(data[position:end])
        elif kind == b"eXIf":
            exif = content
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, _, text = content.partition(b"\0")
            if keyword == _XMP_KEYWORD:
                xmp = _international(text)
            elif keyword in _RAW_KEYWORDS and not exif:
                exif = _raw_profile(text if kind == b"tEXt" else _inflated(text[1:]))
        position = end
    return Bare(b"".join([*kept, data[position:]]), exif, xmp)


def _international(text: bytes) -> bytes:
    """The text of an iTXt chunk behind its keyword: compressed or not, language and translation left out."""
    packed, rest = text[:1] == b"\1", text[2:]
    _, _, rest = rest.partition(b"\0")
    _, _, rest = rest.partition(b"\0")
    return _inflated(rest) if packed else rest


def _inflated(packed: bytes) -> bytes:
    """As much as is looked through; nothing where it is not compressed as it should be."""
    try:
        return zlib.decompressobj().decompress(packed, _MOST_TEXT_BYTES)
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """What ImageMagick writes: a name and a length on lines of their own, then the block in hex."""
    lines = text.split(b"\n")[3:]
    try:
        return bytes.fromhex(b"".join(lines).decode("ascii"))
    except ValueError:
        return b""


def _of_exif(block: bytes) -> int | None:
    """The orientation in the first directory of a TIFF structure; None where it is not there or cannot be read."""
    order = _ORDERS.get(block[:2])
    form = None if order is None else _FORMS.get(int.from_bytes(block[2:4], order))
    if order is None or form is None:
        return None
    start = int.from_bytes(block[form.pointer], order)
    entries = start + form.count_bytes
    for number in range(int.from_bytes(block[start:entries], order)):
        at = entries + form.entry_bytes * number
        entry = block[at : at + form.entry_bytes]
        if len(entry) < form.entry_bytes:
            return None
        tag, kind = (int.from_bytes(entry[first : first + 2], order) for first in (0, 2))
        if tag == _ORIENTATION:
            value = entry[form.value :]
            return int.from_bytes(value[: _NUMBERS[kind]], order) if kind in _NUMBERS else None
    return None
