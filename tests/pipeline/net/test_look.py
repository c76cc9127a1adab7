"""How a file begins, asked of a server that heeds ranges or not, answers or not, and of this machine."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import outside_server
import pytest
from outside_server import OutsideServer

from pipeline.net.fetch import fetching
from pipeline.net.look import Beginning, OutsideFile, beginning, plain
from schemas.config import DownloadConfig
from schemas.status import ImageStatus

BODY = bytes(range(256)) * 4096


@pytest.fixture
def server() -> Iterator[OutsideServer]:
    with outside_server.serving() as server, fetching(DownloadConfig(attempts=1)):
        server.files = {"/list.csv": BODY, "/never": None, "/empty": b""}
        yield server


def looked(server: OutsideServer, path: str, first_bytes: int = 1000, budget_s: float = 20.0) -> Beginning:
    return beginning(OutsideFile("dataset.list", server.base + path), first_bytes, budget_s)


def test_a_server_is_asked_for_the_first_bytes_alone_and_tells_the_size(server: OutsideServer) -> None:
    found = looked(server, "/list.csv")
    assert (found.data, found.size_bytes, found.whole, found.fault) == (BODY[:1000], len(BODY), False, None)
    assert server.ranges == {"/list.csv": "bytes=0-999"}


def test_a_server_that_heeds_no_range_is_left_after_the_first_bytes(server: OutsideServer) -> None:
    server.ranged = False
    found = looked(server, "/list.csv")
    assert found.data.startswith(BODY[:1000])
    assert (found.size_bytes, found.whole) == (len(BODY), False)


def test_a_file_that_is_no_longer_than_what_is_asked_for_is_known_whole(server: OutsideServer) -> None:
    found = looked(server, "/list.csv", first_bytes=2 * len(BODY))
    assert (found.data, found.whole) == (BODY, True)


@pytest.mark.parametrize(
    ("path", "fault", "error"),
    [
        ("/nowhere", ImageStatus.NOT_FOUND, "HTTP 404"),
        ("/never", ImageStatus.TIMEOUT, "no whole answer within 0.3 s"),
    ],
)
def test_a_fault_comes_back_in_words(server: OutsideServer, path: str, fault: ImageStatus, error: str) -> None:
    found = looked(server, path, budget_s=0.3)
    assert (found.fault, found.error, found.data) == (fault, error, b"")


def test_an_empty_file_has_no_data_and_no_fault(server: OutsideServer) -> None:
    found = looked(server, "/empty")
    assert (found.data, found.size_bytes, found.fault) == (b"", 0, None)


@pytest.mark.parametrize(("age", "ahead_s"), [("0", 0.0), ("3600", 3600.0)])
def test_the_clock_of_a_server_is_told_and_so_is_the_age_of_a_cached_answer(
    server: OutsideServer, age: str, ahead_s: float
) -> None:
    server.headers = {"Age": age}
    assert looked(server, "/list.csv").ahead_s == pytest.approx(ahead_s, abs=30)


def test_an_answer_without_a_time_tells_none(server: OutsideServer) -> None:
    server.headers = {"Date": "soon"}
    assert looked(server, "/list.csv").ahead_s is None


def test_a_path_and_a_file_that_was_fetched_are_read_where_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(BODY)
    for file in (OutsideFile("dataset.list", str(path)), OutsideFile("dataset.list", "http://127.0.0.1:1/a", path)):
        assert beginning(file, 1000, 1.0) == Beginning(BODY[:1000], len(BODY))
    with pytest.raises(FileNotFoundError):
        beginning(OutsideFile("dataset.list", str(tmp_path / "no")), 1000, 1.0)


def test_packed_bytes_are_unpacked_as_far_as_they_go() -> None:
    packed = gzip.compress(b"\xef\xbb\xbfImageID,Subset\n" + BODY)
    assert plain(packed[:2000]).startswith(b"ImageID,Subset\n\x00\x01")
    assert plain(b"\xef\xbb\xbfImageID") == b"ImageID"
    assert plain(b"\x1f\x8bnot gzip") == b"\x1f\x8bnot gzip"
