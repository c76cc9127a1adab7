from pathlib import Path

from pipeline.web.spool import open_spool


def test_bytes_put_in_any_order_are_taken_by_row(tmp_path: Path) -> None:
    with open_spool(tmp_path / "images") as spool:
        spool.put(2, b"two")
        spool.put(0, b"zero")
        assert [spool.take(row) for row in range(3)] == [b"zero", None, b"two"]
        spool.put(1, b"one")
        assert [spool.take(row) for row in range(3)] == [b"zero", b"one", b"two"]
        assert spool.size_bytes == 10


def test_the_file_has_no_name_that_a_kill_could_leave(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        spool.put(0, b"bytes")
        assert list(tmp_path.iterdir()) == []


def test_groups_hold_every_row_once_and_end_by_rows_or_bytes(tmp_path: Path) -> None:
    with open_spool(tmp_path) as spool:
        for row, size_bytes in enumerate([1, 1, 1, 9, 9, 1]):
            spool.put(row, b"x" * size_bytes)
        groups = list(spool.groups(8, most_rows=3, enough_bytes=9))
    assert groups == [range(3), range(3, 4), range(4, 5), range(5, 8)]
