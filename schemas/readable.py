"""Sizes, durations, hashes and names as people read them, on a console and on a page.

A number and its unit are `gap` apart: a page passes a space at which no line ends.
"""

import re
from collections.abc import Sequence

_OBEYED = re.compile("[\x7f-\x9f\ud800-\udfff]")


def size_text(size_bytes: float, number: str = ".1f", gap: str = " ") -> str:
    """A size in the unit that suits it, such as 8.5 MB, in powers of 1000.

    Args:
        number: how the number before the unit is written, as in a format string; bytes are always written in full.
    """
    written = ".0f"
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:{written}}{gap}{unit}"
        size_bytes, written = size_bytes / 1000, number
    return f"{size_bytes:{number}}{gap}TB"


def duration_text(seconds: float, gap: str = " ") -> str:
    """A duration in two units: `3 h 05 min`, `2 min 05 s`; `7.3 s` below a minute."""
    if seconds < 60:
        return f"{seconds:.1f}{gap}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{gap}min {rest:02d}{gap}s"
    return f"{minutes // 60}{gap}h {minutes % 60:02d}{gap}min"


def rough_duration_text(seconds: float) -> str:
    """A duration in one unit, for narrow columns and for estimates: `99 s`, `12 min`, `2.0 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def hashes_apart(first: str, second: str, digits: int = 16) -> tuple[str, str]:
    """The first digits of two hashes, or all of them where those are equal."""
    shown = digits if first[:digits] != second[:digits] else None
    return f"{first[:shown]}...", f"{second[:shown]}..."


def printable(text: str, kept: str = "") -> str:
    """The text with what a terminal would obey, such as ESC, written as an escape.

    Args:
        kept: characters that stay as they are, such as the line ends of a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in kept else ascii(sign)[1:-1] for sign in text)


def escaped(text: str) -> str:
    r"""JSON or TOML text in which what a terminal would obey is written `\u009b`; ESC both escape themselves."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
