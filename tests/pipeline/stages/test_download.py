"""The download stage over loopback http and local files: every row ends with a status, whatever a server does."""

import hashlib
import os
import socket
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_tasks import sealed
from stage_tasks import task as task_of

from benchmarks.fault_server import FaultServer, header_of_900_megapixels, picture, serving
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.datasets.nuswide.settings import NusWideDataset
from pipeline.datasets.openimages.settings import OpenImagesDataset
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Task
from pipeline.files.storage import Storage
from pipeline.files.tables import write_table
from pipeline.images.local import VanishedFileError
from pipeline.stages.download import HASHES, Settings, run, stage
from schemas.config import Config, DownloadConfig
from schemas.datasets import DatasetSection
from schemas.errors import PipelineError, TimeBudgetError
from schemas.status import ImageStatus
from schemas.tables import DOWNLOADS, IMAGES, INDEX

QUICK = DownloadConfig(
    timeout_s=20,
    backoff_s=0.001,
    attempts=3,
    max_bytes=100_000,
    allowed_networks=("127.0.0.0/8",),
    placeholder_md5=(hashlib.md5(picture(99)).hexdigest(),),
)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving() as faults:
        yield faults


def row(image_id: str, *places: tuple[str, str], removed: bool = False, **promised: object) -> dict[str, Any]:
    locations = [{"source": source, "address": address, **promised} for source, address in places]
    return {"image_id": image_id, "locations": locations, "removed": removed}


def task_for(
    root: Path,
    rows: list[dict[str, Any]],
    config: DownloadConfig = QUICK,
    base: str = "",
    deadline: float | None = None,
) -> Task:
    columns = {name: [one.get(name) for one in rows] for name in INDEX.names}
    listing = task_of("index", root, None)
    write_table(listing.storage, listing.path("index", 3), pa.table(columns, schema=INDEX))
    listed = sealed(listing, [Output(("index",), len(rows), shard=3)])
    bases = {"demo": base} if base else {}
    return task_of("download", root, Settings(config), {"index": listed}, 3, bases=bases, deadline=deadline)


def downloaded(task: Task) -> tuple[Output, list[dict[str, Any]], list[bytes | None]]:
    (output,) = run(task)
    table, images = (pq.read_table(task.storage.shown(task.path(name))) for name in ("downloads", "images"))
    assert (table.schema.names, images.schema.names) == (DOWNLOADS.names, IMAGES.names)
    assert table["image_id"].to_pylist() == images["image_id"].to_pylist()
    return output, table.to_pylist(), images["data"].to_pylist()


FAULTS = {
    "code/404": (ImageStatus.NOT_FOUND, "HTTP 404", 1),
    "code/410": (ImageStatus.GONE, "HTTP 410", 1),
    "code/403": (ImageStatus.FORBIDDEN, "HTTP 403", 1),
    "code/418": (ImageStatus.HTTP_ERROR, "HTTP 418", 1),
    "code/206": (ImageStatus.HTTP_ERROR, "HTTP 206", 1),
    "code/500": (ImageStatus.SERVER_ERROR, "HTTP 500", 3),
    "limited-for-long": (ImageStatus.RATE_LIMITED, "HTTP 429", 1),
    "reset-in-the-body": (ImageStatus.TRUNCATED_BODY, "the body ended before its announced end", 3),
    "truncated": (ImageStatus.TRUNCATED_BODY, "the body ended before its announced end", 3),
    "closed": (ImageStatus.CONNECTION_ERROR, "closed without an answer", None),
    "no-http": (ImageStatus.HTTP_ERROR, "the answer is not HTTP", 1),
    "endless": (ImageStatus.TOO_LARGE, "more bytes than download.max_bytes = 100000", 1),
    "announced-large": (ImageStatus.TOO_LARGE, "more bytes than download.max_bytes = 100000", 1),
    "circle/a": (ImageStatus.BAD_REDIRECT, "the redirects run in a circle", 1),
    "hop/0": (ImageStatus.BAD_REDIRECT, "more than download.max_redirects = 5", 1),
    "to-file": (ImageStatus.BAD_REDIRECT, "expected an http(s) address, got the scheme 'file'", 1),
    "to-nowhere": (ImageStatus.BAD_REDIRECT, "not a valid address", 1),
    "to-the-cloud": (ImageStatus.PRIVATE_ADDRESS, None, 1),
    "to-a-placeholder": (ImageStatus.PLACEHOLDER, "sent to a picture that says that the photo is unavailable", 1),
    "ok/99": (ImageStatus.PLACEHOLDER, "a picture that download.placeholder_md5 lists", 1),
    "page": (ImageStatus.NOT_AN_IMAGE, "starts with b'<!doctyp', no format that we read", 1),
    "empty": (ImageStatus.EMPTY, "0 bytes", 1),
    "gzip-bomb": (ImageStatus.HTTP_ERROR, "the body is encoded as 'gzip', expected none", 1),
    "megapixels": (ImageStatus.TOO_MANY_PIXELS, None, 1),
}
RECOVERIES = ("limited-once", "broken-once", "reset-once", "moved/here", "late", "longer-than-announced")


def test_every_fault_costs_its_own_row_and_no_other(server: FaultServer, tmp_path: Path) -> None:
    names = [
        name for pair in zip(FAULTS, [f"ok/{number}" for number in range(len(FAULTS))], strict=True) for name in pair
    ]
    names += RECOVERIES
    output, rows, images = downloaded(
        task_for(tmp_path, [row(name, ("demo", name)) for name in names], base=server.base)
    )
    assert [one["image_id"] for one in rows] == names
    for one, data in zip(rows, images, strict=True):
        name = one["image_id"]
        status, error, requests = FAULTS.get(name, (ImageStatus.OK, None, None))
        assert (name, one["status"], one["error"]) == (name, status, error or one["error"])
        assert (one["error"] is None) == (status is ImageStatus.OK)
        assert one["source"] == "demo"
        if requests is not None:
            assert (name, server.requests[f"/{name}"]) == (name, requests)
        if status is ImageStatus.OK:
            assert data is not None
            assert (one["width"], one["height"], one["size_bytes"]) == (8, 6, len(data))
            assert one["sha256"] == hashlib.sha256(data).hexdigest()
            assert data == picture(int(name[3:]) if name.startswith("ok/") else int(name.startswith("moved")))
        else:
            assert data is None
    assert output.rows == len(names) == sum(output.counts.values())
    assert output.counts["ok"] == len(FAULTS) + len(RECOVERIES)
    assert output.facts["bytes"] == sum(len(data) for data in images if data)


def test_a_body_that_is_no_image_is_still_known_by_its_hash(server: FaultServer, tmp_path: Path) -> None:
    _, (one,), _ = downloaded(task_for(tmp_path, [row("a", ("demo", "megapixels"))], base=server.base))
    data = header_of_900_megapixels()
    assert (one["size_bytes"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (one["width"], one["height"]) == (None, None)


def test_a_server_that_trickles_or_says_nothing_costs_the_deadline_once(server: FaultServer, tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"timeout_s": 0.5})
    places = [("demo", name) for name in ("trickle", "stalled", "ok/1", "silent")]
    _, rows, _ = downloaded(task_for(tmp_path, [row(place[1], place) for place in places], config, server.base))
    late = ("timeout", "no whole answer within download.timeout_s = 0.5")
    assert [(one["status"], one["error"]) for one in rows] == [late, late, ("ok", None), late]
    assert {server.requests[f"/{name}"] for name in ("trickle", "stalled", "silent")} == {1}


def test_addresses_that_nothing_answers_have_a_status(server: FaultServer, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{free.getsockname()[1]}/a.jpg"
    scheme = "expected an http(s) address, got the scheme "
    expected = {
        refused: ("connection_error", "no connection: connection refused"),
        server.base.replace("http", "https"): ("tls_error", "no secure connection"),
        "ftp://127.0.0.1/a.jpg": ("bad_address", scheme + "'ftp'"),
        "file:///etc/hostname": ("bad_address", scheme + "'file'"),
        "photo.jpg": ("bad_address", scheme + "''"),
        "": ("bad_address", scheme + "''"),
        "http:///a.jpg": ("bad_address", "an address without a host"),
        "http://[::1/a.jpg": ("bad_address", "not a valid address"),
        "http://127.0.0.1:99999/": ("bad_address", "not a valid address"),
        f"http://{'a' * 70}.example/": ("dns_error", "the host name does not resolve"),  # too long for a name server
        "http://\u00e4..example/a.jpg": ("bad_address", "not a valid address"),
        "http://a.example/\0": ("bad_address", "an address with a control character"),
        "http://a.example/\x1b[2J": ("bad_address", "an address with a control character"),
        f"http://a.example/{'a' * 8_000_000}": (
            "bad_address",
            "an address of 8000017 characters, expected 65536 at most",
        ),
    }
    rows = [row(address or "none", ("http", address)) for address in expected]
    _, rows, _ = downloaded(task_for(tmp_path, [*rows, row("nowhere")]))
    assert {one["image_id"]: (one["status"], one["error"]) for one in rows[:-1]} == {
        address or "none": outcome for address, outcome in expected.items()
    }
    assert (rows[-1]["status"], rows[-1]["error"]) == ("bad_address", "the index names no location")


def test_a_malformed_address_costs_no_other_image_even_while_its_host_waits(
    server: FaultServer, tmp_path: Path
) -> None:
    places = ["limited-once", "ok/1", "code/404", "ok/2"]
    rows = [row(place, ("demo", place)) for place in places]
    rows += [
        row("broken", ("http", "http://[::1")),
        row("zero", ("http", "\0")),
        row("blank", ("flickr", f" {server.base}/ok/3\n")),
    ]
    output, _, images = downloaded(task_for(tmp_path, rows, base=server.base))
    assert output.counts == {"bad_address": 2, "not_found": 1, "ok": 4}
    assert images == [picture(0), picture(1), None, picture(2), None, None, picture(3)]


@pytest.mark.parametrize(
    ("dataset", "setting", "settled"),
    [
        (FolderDataset(), "auto", "always"),
        (FolderDataset(), "never", "never"),
        (DemoDataset(), "auto", "never"),
        (NusWideDataset(), "auto", "never"),
        (OpenImagesDataset(), "auto", "never"),
        (OpenImagesDataset(), "always", "always"),
    ],
)
def test_opt_outs_are_respected_but_for_what_a_publisher_hosts(
    dataset: DatasetSection, setting: str, settled: str, tmp_path: Path
) -> None:
    download = DownloadConfig.model_validate({"respect_opt_out": setting})
    described = stage(Config(dataset=dataset, download=download), Sources(Storage(tmp_path)))
    assert described.settings.download.respect_opt_out == settled
    assert "respect_opt_out" not in str(described.recipe)


def test_an_image_whose_owner_opted_out_is_a_row_without_bytes(server: FaultServer, tmp_path: Path) -> None:
    rows = [row("kept", ("demo", "ok/1")), row("withheld", ("demo", "headed/1?X-Robots-Tag=noai"))]
    output, found, images = downloaded(task_for(tmp_path, rows, base=server.base))
    assert output.counts == {"ok": 1, "opted_out": 1}
    assert (found[1]["error"], images) == ("the server says X-Robots-Tag: noai", [picture(1), None])


def test_the_first_location_that_has_the_image_gives_it(server: FaultServer, tmp_path: Path) -> None:
    found = row("found", ("demo", "code/404"), ("http", f"{server.base}/ok/7"), ("demo", "ok/8"))
    config = QUICK.model_copy(update={"timeout_s": 1.0})
    late = row("late", ("demo", "silent"), ("demo", "ok/9"))  # a dead first location leaves time for the second
    lost = row("lost", ("demo", "code/404"), ("local", str(tmp_path / "none.jpg")), ("demo", "code/410"))
    _, rows, images = downloaded(task_for(tmp_path, [found, late, lost], config, server.base))
    assert [(one["status"], one["source"]) for one in rows] == [("ok", "http"), ("ok", "demo"), ("gone", "demo")]
    assert images == [picture(7), picture(9), None]
    assert rows[2]["error"] == "HTTP 410 (last of 3 locations)"
    assert server.requests["/ok/8"] == 0


def test_removed_rows_stay_as_tombstones_and_are_not_fetched(server: FaultServer, tmp_path: Path) -> None:
    rows = [row("gone", ("demo", "ok/1"), removed=True), row("old", ("unknown base", "a"), removed=True)]
    output, rows, images = downloaded(task_for(tmp_path, rows, base=server.base))
    assert [one["status"] for one in rows] == ["removed", "removed"]
    assert images == [None, None]
    assert (output.counts, server.requests) == ({"removed": 2}, {})


def test_local_images_are_checked_and_referenced_not_copied(tmp_path: Path) -> None:
    files = tmp_path / "photos"
    files.mkdir()
    (files / "good.jpg").write_bytes(picture(5))
    (files / "text.jpg").write_bytes(b"words")
    (files / "empty.jpg").touch()
    (files / "large.jpg").write_bytes(picture(5) + bytes(100_000))
    os.mkfifo(files / "pipe.jpg")
    (files / "loop.jpg").symlink_to(files / "loop.jpg")
    expected = {
        "good.jpg": ("ok", None),
        "text.jpg": ("not_an_image", "starts with b'words', no format that we read"),
        "empty.jpg": ("empty", "0 bytes"),
        "large.jpg": ("too_large", "more bytes than download.max_bytes = 100000"),
        "pipe.jpg": ("unreadable_file", "not a regular file"),
        ".": ("unreadable_file", "not a regular file"),
        "loop.jpg": ("unreadable_file", "too many levels of symbolic links"),
        "none.jpg": ("missing_file", "no such file"),
        "good.jpg/inside.jpg": ("missing_file", "no such file"),
        "zero\0.jpg": ("bad_address", "not a path: it holds a zero byte"),
    }
    rows = [row(name, ("local", f"{files}/{name}")) for name in expected]
    output, rows, images = downloaded(task_for(tmp_path / "work", rows))
    assert {one["image_id"]: (one["status"], one["error"]) for one in rows} == expected
    assert set(images) == {None}
    good = rows[0]
    assert (good["source"], good["width"], good["height"]) == ("local", 8, 6)
    assert (good["size_bytes"], good["sha256"]) == (len(picture(5)), hashlib.sha256(picture(5)).hexdigest())
    assert output.facts["bytes"] == 0


def test_a_file_that_the_index_saw_and_that_is_gone_is_an_error_of_its_shard(
    server: FaultServer, tmp_path: Path
) -> None:
    path = tmp_path / "photos/a.jpg"
    path.parent.mkdir()
    path.write_bytes(picture(5))
    seen = row("a", ("local", str(path)), ("demo", "ok/1")) | {"size_bytes": len(picture(5)), "modified_ns": 1}
    task = task_for(tmp_path / "work", [seen, row("b", ("demo", "ok/2"))], base=server.base)
    path.parent.rename(tmp_path / "away")
    with pytest.raises(
        VanishedFileError, match=r"photos/a\.jpg is gone: .* bring it back\. Then, .* run the same again"
    ):
        run(task)
    assert server.requests["/ok/1"] == 0
    assert not list((tmp_path / "work").rglob("downloads/*.parquet"))
    (tmp_path / "away").rename(path.parent)
    output, rows, _ = downloaded(task)
    assert output.counts == {"ok": 2}
    assert rows[0]["source"] == "local"


def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "closed.jpg"
    path.write_bytes(picture())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    _, (one,), _ = downloaded(task_for(tmp_path / "work", [row("a", ("local", str(path)))]))
    assert (one["status"], one["error"]) == ("unreadable_file", "permission denied")


def test_equal_answers_leave_equal_bytes_and_no_trace_of_the_server(tmp_path: Path) -> None:
    names = [*FAULTS, *RECOVERIES, *(f"ok/{number}" for number in range(70))]
    outputs, written = [], []
    for attempt in ("first", "second"):
        with serving() as server:
            task = task_for(tmp_path / attempt, [row(name, ("demo", name)) for name in names], base=server.base)
            (output,) = run(task)
            files = [task.storage.read(task.path(name)) for name in output.files]
            port = server.base.rsplit(":", 1)[1].encode()
            assert not any(word in data for data in files for word in (b"127.0.0.1", b":" + port))
        outputs.append(output.content)
        written.append(files)
    assert outputs[0] == outputs[1]
    assert written[0] == written[1]


def test_content_is_the_hash_of_id_status_and_bytes(server: FaultServer, tmp_path: Path) -> None:
    rows = [row("a", ("demo", "ok/1")), row("b", ("demo", "code/404"))]
    (output,) = run(task_for(tmp_path, rows, base=server.base))
    sha256 = hashlib.sha256(picture(1)).hexdigest()
    assert output.content == hashlib.sha256(f"a\tok\t{sha256}\nb\tnot_found\t\n".encode()).hexdigest()
    assert output.parts == {HASHES: hashlib.sha256(f"a\t\t{sha256}\nb\t\t\n".encode()).hexdigest()}
    assert output.files == ("downloads", "images")


def test_a_shard_in_which_all_fail_is_written_like_any_other(server: FaultServer, tmp_path: Path) -> None:
    rows = [row(str(number), ("demo", "code/404")) for number in range(5)]
    output, rows, images = downloaded(task_for(tmp_path, rows, base=server.base))
    assert (output.counts, output.rows, images) == ({"not_found": 5}, 5, [None] * 5)


def test_an_empty_shard_is_written(tmp_path: Path) -> None:
    output, rows, _ = downloaded(task_for(tmp_path, []))
    assert (output.rows, rows) == (0, [])


def test_connections_are_reused_and_requests_at_once_are_capped(server: FaultServer, tmp_path: Path) -> None:
    rows = [row(str(number), ("demo", f"ok/{number}")) for number in range(40)]
    config = QUICK.model_copy(update={"requests": 3})
    output, _, _ = downloaded(task_for(tmp_path, rows, config, server.base))
    assert output.counts == {"ok": 40}
    assert server.most_at_once <= 3
    assert server.connections <= 3


def test_what_a_server_sends_too_much_costs_no_other_image(server: FaultServer, tmp_path: Path) -> None:
    names = [f"{kind}/{number}" for number in range(60) for kind in ("longer-than-announced", "ok")]
    config = QUICK.model_copy(update={"requests": 2})  # so that each connection is used again
    output, _, images = downloaded(
        task_for(tmp_path, [row(name, ("demo", name)) for name in names], config, server.base)
    )
    assert output.counts == {"ok": 120}
    assert images[1::2] == [picture(number) for number in range(60)]


def test_images_lie_uncompressed_in_small_row_groups(server: FaultServer, tmp_path: Path) -> None:
    rows = [row(str(number), ("demo", f"ok/{number}")) for number in range(70)]
    task = task_for(tmp_path, rows, base=server.base)
    run(task)
    with pq.ParquetFile(task.storage.shown(task.path("images"))) as file:
        groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
        assert [group.num_rows for group in groups] == [32, 32, 6]
        assert {group.column(1).compression for group in groups} == {"UNCOMPRESSED"}
        assert not any(group.column(1).has_dictionary_page for group in groups)


def test_a_source_without_a_known_address_is_an_error_before_anything_is_fetched(tmp_path: Path) -> None:
    task = task_for(tmp_path, [row("a", ("bucket", "a.jpg"))], base="http://127.0.0.1:1")
    with pytest.raises(PipelineError, match=r"shard-00003 lie at 'bucket', whose address is not known \(known: demo\)"):
        run(task)


def test_a_used_up_time_budget_ends_the_shard_and_leaves_nothing(server: FaultServer, tmp_path: Path) -> None:
    rows = [row("a", ("demo", "silent")), row("b", ("demo", "ok/1"))]
    task = task_for(tmp_path, rows, base=server.base, deadline=time.time() - 1)
    with pytest.raises(TimeBudgetError):
        run(task)
    assert task.storage.sizes("images") == task.storage.sizes("downloads") == {}


def test_an_address_is_used_as_it_is_whatever_its_source_is_called(server: FaultServer, tmp_path: Path) -> None:
    _, (found,), _ = downloaded(task_for(tmp_path, [row("a", ("flickr", f"{server.base}/ok/1"))]))
    assert (found["status"], found["source"]) == ("ok", "flickr")


@pytest.mark.parametrize(
    ("promised", "error"),
    [
        ({"size_bytes": 7}, "631 bytes, expected 7 as the data set says"),
        ({"md5": "0" * 32}, "another MD5 than the data set says"),
    ],
)
def test_a_file_that_is_not_the_promised_one_is_no_image_of_the_data_set(
    promised: dict[str, Any], error: str, server: FaultServer, tmp_path: Path
) -> None:
    wrong = row("a", ("flickr", f"{server.base}/ok/1"), **promised)
    _, (found,), (data,) = downloaded(task_for(tmp_path, [wrong]))
    assert (found["status"], data) == ("hash_mismatch", None)
    assert found["error"].split(" ", 1)[1] == error.split(" ", 1)[1]


def test_a_file_that_is_the_promised_one_is_taken(server: FaultServer, tmp_path: Path) -> None:
    promised = {"size_bytes": len(picture(1)), "md5": hashlib.md5(picture(1)).hexdigest()}
    _, (found,), _ = downloaded(task_for(tmp_path, [row("a", ("flickr", f"{server.base}/ok/1"), **promised)]))
    assert found["status"] == "ok"


def test_private_addresses_are_asked_only_where_a_setting_lists_them(server: FaultServer, tmp_path: Path) -> None:
    port = server.base.rpartition(":")[2]
    hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "2130706433", "127.1")
    rows = [row(host, ("http", f"http://{host}:{port}/ok/1")) for host in hosts]
    _, found, _ = downloaded(task_for(tmp_path, rows, QUICK.model_copy(update={"allowed_networks": ()})))
    # The last two are other ways of writing 127.0.0.1.
    assert [one["status"] for one in found] == ["private_address"] * 7
    assert not server.requests


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with serving(tls=True) as server:
        _, (found,), _ = downloaded(task_for(tmp_path, [row("a", ("http", f"{server.base}/ok/1"))]))
    assert (found["status"], server.requests) == ("tls_error", {})


def test_shards_take_their_images_out_of_one_stream_of_an_archive_and_what_it_lacks_from_elsewhere(
    server: FaultServer, tmp_path: Path
) -> None:
    archive = f"/archive/{tmp_path.name}.tar.gz"  # a process reads an archive once
    names = [f"{number}.jpg" for number in range(40)]
    with tarfile.open(fileobj=(packed := BytesIO()), mode="w:gz") as tar:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(f"train_0/{name}")
            member.size = len(data := b"words" if number == 38 else picture(number))
            if number != 39:
                tar.addfile(member, BytesIO(data))
    server.files[archive] = packed.getvalue()
    rows = [
        row(name, ("tar", f"{server.base}{archive}#{name}"), ("demo", f"ok/{number}"))
        for number, name in enumerate(names)
    ]
    first, found, _ = downloaded(task_for(tmp_path / "first", rows[20:], base=server.base))
    second, _, images = downloaded(task_for(tmp_path / "second", rows[:20][::-1], base=server.base))
    assert (first.counts, second.counts) == ({"ok": 20}, {"ok": 20})
    assert [one["source"] for one in found] == ["tar"] * 18 + ["demo"] * 2
    assert images == [picture(number) for number in range(20)][::-1]
    assert server.requests == {archive: 1, "/ok/38": 1, "/ok/39": 1}


def test_an_image_out_of_an_archive_lies_below_the_address_of_its_source(server: FaultServer, tmp_path: Path) -> None:
    rows = [row("a", ("tar", "code/404/train_0.tar.gz#a.jpg")), row("b", ("tar", "code/404/train_0.tar.gz#b.jpg"))]
    task = replace(task_for(tmp_path, rows), bases={"tar": server.base})
    _, found, _ = downloaded(task)
    assert [(one["status"], one["source"], one["error"]) for one in found] == [("not_found", "tar", "HTTP 404")] * 2
    assert server.requests == {"/code/404/train_0.tar.gz": 1}


def test_that_the_server_of_this_host_is_gone_is_no_outcome_of_its_images(tmp_path: Path) -> None:
    with socket.socket() as free:  # bound and not listening: nobody else can have the port
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
        task = task_for(tmp_path, [row("a", ("demo", "ok/1"))], base=base)
        with pytest.raises(PipelineError, match=rf"the server at {base}, where these images lie, is gone"):
            run(task)
    assert task.storage.sizes("images") == task.storage.sizes("downloads") == {}
