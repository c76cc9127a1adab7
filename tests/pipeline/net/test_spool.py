from pathlib import Path

import pytest

from pipeline.net.spool import Limits, Spool, open_spool

ROOMY = Limits(group_rows=3, group_bytes=9, held_bytes=1000)


def filled(spool: Spool, sizes: list[int], order: list[int]) -> list[range]:
    groups = []
    for row in order:
        spool.put(row, bytes([row]) * sizes[row])
        groups += list(spool.complete())
    return groups


@pytest.mark.parametrize("held_bytes", [0, 4, 1000])
def test_bytes_put_in_any_order_are_taken_by_row_from_memory_or_file(tmp_path: Path, held_bytes: int) -> None:
    with open_spool(tmp_path / "images", 4, Limits(3, 9, held_bytes)) as spool:
        spool.put(2, b"two")
        spool.put(0, b"zero")
        spool.put(3, b"")
        assert [spool.take(row) for row in range(4)] == [b"zero", None, b"two", None]
        spool.put(1, b"one")
        assert spool.take(1) == b"one"
        assert spool.take(1) is None
        assert spool.size_bytes == 10


def test_the_file_has_no_name_that_a_kill_could_leave(tmp_path: Path) -> None:
    with open_spool(tmp_path, 1, Limits(1, 1, held_bytes=0)) as spool:
        spool.put(0, b"bytes")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0], [1, 0, 4, 2, 7, 3, 6, 5]])
def test_groups_hold_every_row_once_and_end_by_rows_or_bytes_whatever_comes_first(
    tmp_path: Path, order: list[int]
) -> None:
    with open_spool(tmp_path, 8, ROOMY) as spool:
        assert filled(spool, [1, 1, 1, 9, 9, 1, 0, 0], order) == [range(3), range(3, 4), range(4, 5), range(5, 8)]


def test_a_group_is_complete_as_soon_as_its_last_row_is_there(tmp_path: Path) -> None:
    with open_spool(tmp_path, 5, ROOMY) as spool:
        assert filled(spool, [1, 1, 1, 1, 1], [0, 2, 3]) == []
        assert filled(spool, [1, 1, 1, 1, 1], [1]) == [range(3)]
        assert filled(spool, [1, 1, 1, 1, 1], [4]) == [range(3, 5)]


def test_the_file_is_begun_anew_once_all_of_it_is_taken(tmp_path: Path) -> None:
    with open_spool(tmp_path, 3, Limits(3, 9, held_bytes=0)) as spool:
        for row in range(3):
            spool.put(row, b"bytes")
            assert spool.take(row) == b"bytes"
        assert spool._file_bytes == 0
