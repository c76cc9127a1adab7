"""Sizes, durations, hashes and names as people read them, on a console and on a page.

A number and its unit are `gap` apart: a page passes a space at which no line ends.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

WIDTH = 80  # of a table, in characters
_GAP = "  "  # between columns
_NARROW = 18  # a cell that is no wider stays on one line
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


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], width: int = WIDTH, keys: int = 1) -> Iterator[str]:
    """A table whose lines fit a width and break no word, unless a single word is too long for it.

    The widest columns are wrapped first. Where that does not do, columns that have no room follow below, with the first
    columns, `keys` of them, once more; rows that have nothing there are left out below.
    """
    columns = list(zip(head, *rows, strict=True))
    natural = [max(map(len, column)) for column in columns]
    least = [max(_longest_word(column), min(_NARROW, wide)) for column, wide in zip(columns, natural, strict=True)]
    for number, block in enumerate(_blocks(least, width, keys)):
        widths = _shared_out([natural[place] for place in block], [least[place] for place in block], width)
        for line in [head, *rows]:
            if number and not any(line[place] for place in block[keys:]):
                continue
            cells = [_wrapped(line[place], wide) for place, wide in zip(block, widths, strict=True)]
            for parts in zip_longest(*cells, fillvalue=""):
                yield _GAP.join(part.ljust(wide) for part, wide in zip(parts, widths, strict=True)).rstrip()


def wrapped(line: str, width: int) -> list[str]:
    """A line as lines of a width, broken at blanks alone and indented as it is; what is short enough stays."""
    if len(line) <= width:
        return [line]
    lead = line[: len(line) - len(line.lstrip(" "))]
    below, text = f"{lead}  ", line.lstrip(" ")
    return wrap(
        text, width, initial_indent=lead, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )


def _wrapped(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]


def _longest_word(cells: Sequence[str]) -> int:
    return max((len(word) for cell in cells for word in cell.split()), default=0)


def _blocks(least: Sequence[int], width: int, keys: int) -> Iterator[list[int]]:
    """Places of the columns that stand side by side; each block begins with the first of all."""
    first = list(range(min(keys, len(least))))
    block, used = first, sum(least[place] + len(_GAP) for place in first) - len(_GAP)
    for place in range(len(first), len(least)):
        if used + len(_GAP) + least[place] > width and len(block) > len(first):
            yield block
            block, used = first, sum(least[place] + len(_GAP) for place in first) - len(_GAP)
        block = [*block, place]
        used += len(_GAP) + least[place]
    yield block


def _shared_out(natural: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Widths of columns side by side: what each wants, but for the widest, which have to do with less."""
    room = width - len(_GAP) * (len(natural) - 1)
    for most in range(max(natural), 0, -1):
        widths = [max(low, min(wide, most)) for wide, low in zip(natural, least, strict=True)]
        if sum(widths) <= room:
            return widths
    return list(least)
