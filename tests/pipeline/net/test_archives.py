"""Files out of archives over loopback: each is an answer, whatever the archive or its server does."""

import asyncio
import gzip
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from benchmarks.fault_server import FaultServer, picture, serving
from pipeline.net.answer import Answer
from pipeline.net.archives import Archives
from pipeline.net.client import Client
from pipeline.net.networks import Networks
from schemas.config import DownloadConfig
from schemas.status import ImageStatus

CONFIG = DownloadConfig(attempts=3, backoff_s=0.001, max_bytes=100_000, allowed_networks=("127.0.0.0/8",))
NAMES = [f"{number:02}.jpg" for number in range(40)]
PICTURES = {name: picture(number) for number, name in enumerate(NAMES)}
GOOD = [Answer(ImageStatus.OK, data=PICTURES[name]) for name in NAMES]
NOT_THERE = Answer(ImageStatus.NOT_FOUND, error="not in the archive, or passed by before it was asked for")


@pytest.fixture(autouse=True)
def every_stream_ends() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "biam-pipe archive":
            thread.join(100)
            assert not thread.is_alive()


@pytest.fixture
def server(every_stream_ends: None) -> Iterator[FaultServer]:
    with serving() as faults:
        yield faults


def tar_gz(members: Mapping[str, bytes], level: int = 0) -> bytes:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=level) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return out.getvalue()


def in_a_folder(names: Sequence[str] = NAMES) -> bytes:
    return tar_gz({f"train_0/{name}": PICTURES[name] for name in names})


def ask(
    server: FaultServer,
    behaviour: str,
    data: bytes,
    names: Sequence[str] = NAMES,
    config: DownloadConfig = CONFIG,
) -> list[Answer]:
    """Answers to requests that are all made at once."""
    path = f"/{behaviour}/train_0.tar.gz"
    server.files[path] = data

    async def asked() -> list[Answer]:
        client = Client(config, 8)
        return await asyncio.gather(*(client.member(f"{server.base}{path}#{name}", 20) for name in names))

    return asyncio.run(asked())


async def one_by_one(server: FaultServer, data: bytes, names: Sequence[str], window_bytes: int) -> list[Answer]:
    server.files["/archive/a.tar.gz"] = data
    archives = Archives(CONFIG, Networks(CONFIG.allowed_networks), window_bytes)
    return [await archives.member(f"{server.base}/archive/a.tar.gz", name, 20) for name in names]


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], sorted(NAMES, key=lambda name: name[1])])
def test_members_come_in_any_order_by_one_request(order: list[str], server: FaultServer) -> None:
    assert ask(server, "archive", in_a_folder(order)) == GOOD
    assert server.requests == {"/archive/train_0.tar.gz": 1}


def test_an_archive_goes_on_only_while_somebody_waits(server: FaultServer) -> None:
    answers = asyncio.run(one_by_one(server, in_a_folder(), NAMES, window_bytes=0))
    assert answers == GOOD  # had it gone on, the next would have been dropped


def test_what_came_by_is_kept_as_far_as_the_window_goes_and_given_once(server: FaultServer) -> None:
    data = in_a_folder(["09.jpg", *NAMES[:9], *NAMES[10:]])
    two = sum(len(PICTURES[name]) + 1024 for name in ("06.jpg", "07.jpg"))
    names = ["08.jpg", "07.jpg", "06.jpg", "05.jpg", "07.jpg", "39.jpg"]
    answers = asyncio.run(one_by_one(server, data, names, two))
    assert answers == [GOOD[8], GOOD[7], GOOD[6], NOT_THERE, NOT_THERE, GOOD[39]]


def test_a_sorted_archive_does_not_run_to_its_end_for_a_member_that_it_lacks(server: FaultServer) -> None:
    names = ["15.jpg", "20.5.jpg", "22.jpg", "03.5.jpg", "39.jpg"]
    answers = asyncio.run(one_by_one(server, in_a_folder(), names, window_bytes=10_000))
    assert answers == [GOOD[15], NOT_THERE, GOOD[22], NOT_THERE, GOOD[39]]


def test_a_member_that_no_archive_holds_is_not_found(server: FaultServer) -> None:
    found = ask(server, "archive", in_a_folder(NAMES[:3]), [*NAMES[:3], "none.jpg", ""])
    assert found == [*GOOD[:3], NOT_THERE, NOT_THERE]


def test_a_broken_connection_is_taken_up_where_it_broke(server: FaultServer) -> None:
    assert ask(server, "archive-broken-twice", in_a_folder()) == GOOD
    assert server.requests == {"/archive-broken-twice/train_0.tar.gz": 3}


@pytest.mark.parametrize(
    ("behaviour", "rest"),
    [
        ("archive-broken", Answer(ImageStatus.TRUNCATED_BODY, error="the body ended before its announced end")),
        (
            "archive-changed",
            Answer(
                ImageStatus.HTTP_ERROR,
                error="the archive broke off, and the server does not go on with the same one from there",
            ),
        ),
    ],
)
def test_what_came_before_a_break_is_given_and_the_rest_has_its_status(
    behaviour: str, rest: Answer, server: FaultServer
) -> None:
    answers = ask(server, behaviour, in_a_folder())
    lost = answers.count(rest)
    assert 10 < lost < 30
    assert answers == GOOD[:-lost] + [rest] * lost


def test_a_truncated_archive_gives_what_it_holds(server: FaultServer) -> None:
    answers = ask(server, "archive", in_a_folder()[:20_000])
    rest = Answer(ImageStatus.TRUNCATED_BODY, error="the archive ended before its end")
    assert answers[:10] == GOOD[:10]
    assert set(answers[10:]) <= {*GOOD, rest}
    assert answers[-1] == rest


def test_a_damaged_archive_is_an_answer(server: FaultServer) -> None:
    damaged = Answer(ImageStatus.HTTP_ERROR, error="the archive is no tar.gz, or damaged")
    whole = tar_gz(PICTURES, level=9)
    middle = len(whole) // 2
    answers = ask(server, "archive", whole[:middle] + bytes(100) + whole[middle + 100 :])
    assert answers[0] == GOOD[0]
    assert answers[-1] == damaged
    assert {answer.status for answer in answers} == {ImageStatus.OK, ImageStatus.HTTP_ERROR}


@pytest.mark.parametrize(
    "data",
    [b"<html>", gzip.compress(b"no tar" * 500), gzip.compress(b""), b"", picture()],
    ids=["text", "packed text", "packed nothing", "nothing", "picture"],
)
def test_what_is_no_archive_is_an_answer(data: bytes, server: FaultServer) -> None:
    (answer,) = ask(server, "archive", data, ["00.jpg"])
    assert answer == Answer(ImageStatus.HTTP_ERROR, error="the archive is no tar.gz, or damaged")


@pytest.mark.parametrize(
    ("behaviour", "status", "requests"),
    [
        ("code/404", ImageStatus.NOT_FOUND, 1),
        ("code/403", ImageStatus.FORBIDDEN, 1),
        ("code/500", ImageStatus.SERVER_ERROR, 3),
        ("limited-for-long", ImageStatus.RATE_LIMITED, 1),
        ("closed", ImageStatus.CONNECTION_ERROR, 3),
        ("no-http", ImageStatus.HTTP_ERROR, 1),
    ],
)
def test_an_archive_that_is_not_there_has_the_status_of_its_answer(
    behaviour: str, status: ImageStatus, requests: int, server: FaultServer
) -> None:
    assert [answer.status for answer in ask(server, behaviour, b"", NAMES[:3])] == [status] * 3
    assert server.requests == {f"/{behaviour}/train_0.tar.gz": requests}


def test_redirects_are_followed_to_allowed_networks_only(server: FaultServer) -> None:
    (answer,) = ask(server, "moved", b"", ["00.jpg"])
    assert answer == Answer(ImageStatus.HTTP_ERROR, error="the archive is no tar.gz, or damaged")
    assert server.requests == {"/moved/train_0.tar.gz": 1, "/ok/1": 1}
    assert ask(server, "to-the-cloud", b"", ["00.jpg"])[0].status is ImageStatus.PRIVATE_ADDRESS
    assert ask(server, "circle", b"", ["00.jpg"])[0].status is ImageStatus.BAD_REDIRECT


def test_a_member_that_does_not_come_in_time_is_a_timeout(server: FaultServer) -> None:
    server.files["/archive-stalled/a.tar.gz"] = in_a_folder()

    async def asked() -> list[Answer]:
        client = Client(CONFIG, 8)
        address = f"{server.base}/archive-stalled/a.tar.gz#"
        both = (client.member(f"{address}{name}.jpg", budget_s) for name, budget_s in (("00", 20), ("39", 0.3)))
        return await asyncio.gather(*both)

    late = Answer(ImageStatus.TIMEOUT, error="the archive did not come to it within the time of this location")
    assert asyncio.run(asked()) == [GOOD[0], late]


def test_members_larger_than_the_setting_are_passed_over(server: FaultServer) -> None:
    data = tar_gz({"a.jpg": picture(1), "b.jpg": bytes(100_001), "c.jpg": picture(3)})
    too_large = Answer(ImageStatus.TOO_LARGE, error="more bytes than download.max_bytes = 100000")
    assert ask(server, "archive", data, ["a.jpg", "b.jpg", "c.jpg"]) == [GOOD[1], too_large, GOOD[3]]


def test_a_header_that_asks_for_more_memory_than_a_member_may_have_ends_the_archive(server: FaultServer) -> None:
    bomb = tarfile.TarInfo("././@LongLink")
    bomb.type, bomb.size = tarfile.GNUTYPE_LONGNAME, 10**10
    data = gzip.compress(bomb.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    (answer,) = ask(server, "archive", data, ["a.jpg"])
    assert answer == Answer(ImageStatus.HTTP_ERROR, error="the archive is no tar.gz, or damaged")


def test_names_are_no_paths_and_nothing_but_files_is_a_member(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, kind, target in (
            ("link.jpg", tarfile.SYMTYPE, "/etc/hostname"),
            ("hard.jpg", tarfile.LNKTYPE, "../out.jpg"),
            ("pipe.jpg", tarfile.FIFOTYPE, ""),
            ("folder.jpg", tarfile.DIRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
        for name in ("../out.jpg", f"{tmp_path}/whole.jpg", "x" * 300 + "/long.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(picture())
            tar.addfile(member, BytesIO(picture()))
    names = ["link.jpg", "hard.jpg", "pipe.jpg", "folder.jpg", "out.jpg", "whole.jpg", "long.jpg"]
    assert ask(server, "archive", out.getvalue(), names) == [NOT_THERE] * 4 + [GOOD[0]] * 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "2130706433"])
def test_private_addresses_are_not_asked(host: str, server: FaultServer) -> None:
    async def asked() -> Answer:
        client = Client(CONFIG.model_copy(update={"allowed_networks": ()}), 8)
        return await client.member(f"http://{host}:{server.base.rpartition(':')[2]}/archive/a.tar.gz#a.jpg", 20)

    assert asyncio.run(asked()).status is ImageStatus.PRIVATE_ADDRESS
    assert not server.requests


@pytest.mark.parametrize("archive", ["file:///etc/a.tar.gz", "http://[::1/a", "a.tar.gz", "http://127.0.0.1:99999/a"])
def test_an_archive_without_a_valid_address_is_not_asked(archive: str) -> None:
    async def asked() -> Answer:
        return await Client(CONFIG, 8).member(f"{archive}#a.jpg", 20)

    assert asyncio.run(asked()).status is ImageStatus.BAD_ADDRESS


def test_an_archive_that_nothing_answers_for_has_a_status() -> None:
    async def asked(port: int) -> Answer:
        return await Client(CONFIG, 8).member(f"http://127.0.0.1:{port}/a.tar.gz#a.jpg", 20)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        answer = asyncio.run(asked(free.getsockname()[1]))
    assert answer == Answer(ImageStatus.CONNECTION_ERROR, error="no connection: connection refused")
