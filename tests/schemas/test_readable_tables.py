"""Tables fit a width and break no word."""

import pytest

from schemas.readable import table_lines, wrapped

HEAD = ("stage", "size", "why")


def test_a_table_that_fits_stays_as_it_is() -> None:
    lines = list(table_lines(HEAD, [("train", "3.4 MB", "train.lr 0.001 -> 0.0002"), ("embed", "1 B", "")]))
    assert lines == ["stage  size    why", "train  3.4 MB  train.lr 0.001 -> 0.0002", "embed  1 B"]


def test_the_widest_column_is_wrapped_at_blanks_alone() -> None:
    why = "; ".join(f"setting.number-{number} 1 -> 2" for number in range(9))
    lines = list(table_lines(HEAD, [("extract", "48.9 MB", why), ("train", "3.4 MB", "new")]))
    assert max(map(len, lines)) <= 80
    assert " ".join(line[18:].strip() for line in lines[1:-1]) == why
    assert lines[-1] == "train    3.4 MB   new"


@pytest.mark.parametrize("width", [40, 80])
def test_columns_without_room_follow_below_with_the_first_one(width: int) -> None:
    head = tuple(f"figure {number}" for number in range(12))
    rows = [tuple(f"{row}.{number} ±1.25" for number in range(12)) for row in range(2)]
    lines = list(table_lines(head, rows, width))
    assert max(map(len, lines)) <= width
    assert all(cell in "\n".join(lines) for row in rows for cell in row)
    assert len({line for line in lines if line.startswith("1.0 ±1.25")}) > 1


def test_a_word_that_is_too_long_is_not_broken() -> None:
    path = "x" * 100
    assert path in "\n".join(table_lines(HEAD, [("run", path, "why not at all")]))
    assert wrapped(f"  {path} and more words", 80) == [f"  {path}", "    and more words"]
    assert wrapped("short", 80) == ["short"]
