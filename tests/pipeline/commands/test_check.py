"""What `check` finds, by servers on loopback that answer with what is right, wrong, late or nothing."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import outside_server
import pytest
import torch  # noqa: F401 - the first check would spend its time on it, and it is bounded
from outside_server import OutsideServer
from stage_tasks import sealed
from stage_tasks import task as task_of

from benchmarks.fault_server import picture
from benchmarks.openimages_files import Size, image_id, write_files, write_toml
from pipeline import flow
from pipeline.commands import console
from pipeline.commands.checks import addresses, disks, machine
from pipeline.commands.checks.finding import Finding, Verdict, together
from pipeline.commands.checks.rehearsal import rehearse
from pipeline.engine.ledger import Ledger
from pipeline.engine.task import RECORD
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from pipeline.net.fetch import CACHE_VARIABLE, fetching
from pipeline.net.look import OutsideFile
from pipeline.settings.layers import configuration
from pipeline.stages import index
from schemas.command import AGAIN
from schemas.config import Config, DownloadConfig
from schemas.datasets import DatasetSection
from schemas.errors import InterruptedRunError, PipelineError, UsageError

LIST = b"ImageID,Subset\n" + b"0,train\n" * 100
LOOPBACK = 'download.allowed_networks=["127.0.0.0/8"]'
SIZES = {"train": Size(120, 600, 20, 5), "validation": Size(30, 300, 20, 5), "test": Size(30, 300, 20, 5)}
PLAIN = ["backbone.name=tiny", "backbone.weights=random:0"]


@pytest.fixture
def server() -> Iterator[OutsideServer]:
    with outside_server.serving() as server:
        server.files = {"/list.csv": LIST, "/page": b"<!DOCTYPE html><p>gone", "/empty": b"", "/never": None}
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def looked_at(file: OutsideFile) -> Finding:
    with fetching(DownloadConfig(attempts=1, timeout_s=0.5)):
        (finding,) = addresses.looked_at(file, [])
    return finding


@pytest.mark.parametrize(
    ("path", "known", "verdict", "told"),
    [
        ("/list.csv", {}, Verdict.OK, "815 B, http"),
        ("/list.csv", {"size_bytes": 815, "sha256": sha256(LIST).hexdigest()}, Verdict.OK, "815 B, http"),
        ("/list.csv", {"begins": (b"ImageID,",)}, Verdict.OK, "815 B, http"),
        ("/list.csv", {"size_bytes": 816}, Verdict.FAULT, "815 bytes, expected 816: http"),
        ("/list.csv", {"sha256": "0" * 64}, Verdict.FAULT, f"sha256 {sha256(LIST).hexdigest()}, expected 0000"),
        (
            "/list.csv",
            {"begins": (b"PK",)},
            Verdict.FAULT,
            "it begins with b'ImageID,Subset\\n0', expected b'PK': http",
        ),
        ("/page", {}, Verdict.FAULT, "a web page in the place of the file: http"),
        ("/empty", {}, Verdict.FAULT, "an empty file: http"),
        ("/nowhere", {}, Verdict.FAULT, "HTTP 404: http"),
        ("/never", {}, Verdict.FAULT, "no whole answer within download.timeout_s = 0.5: http"),
    ],
)
def test_an_address_is_judged_by_its_answer(
    server: OutsideServer, path: str, known: dict[str, Any], verdict: Verdict, told: str
) -> None:
    found = looked_at(OutsideFile("dataset.list", server.base + path, **known))
    assert found.outcome is verdict
    assert found.found.startswith(told)
    assert ("set dataset.list to the path of a copy" in found.remedy) == (verdict is Verdict.FAULT)


def test_a_server_that_cannot_be_asked_is_a_matter_of_the_network() -> None:
    found = looked_at(OutsideFile("embed.vectors", "http://127.0.0.1:9/vectors.txt"))
    assert found.found == "no connection: connection refused: http://127.0.0.1:9/vectors.txt"
    assert found.remedy.startswith("See to this machine's network, its firewall or its proxy (https_proxy), or set")


def test_a_path_and_what_was_fetched_are_read_where_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    missing = looked_at(OutsideFile("dataset.list", str(path)))
    assert (missing.outcome, missing.found[:8], missing.remedy) == (Verdict.FAULT, "no file ", "Check dataset.list")
    path.write_bytes(LIST)
    assert looked_at(OutsideFile("dataset.list", str(path))).found == f"815 B, {path}"
    fetched = OutsideFile("dataset.list", "http://127.0.0.1:9/list.csv", path, sha256(LIST).hexdigest())
    assert looked_at(fetched).found == f"815 B, fetched: {path}"
    path.write_bytes(LIST[:-1])
    found = looked_at(fetched)
    assert found.outcome is Verdict.FAULT
    assert found.remedy.endswith(f"or remove {path} to have it fetched again")


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "told"),
    [
        ([], Verdict.OK, "not compared: no server told its time"),
        ([3.0, -59.0, 5000.0], Verdict.OK, "within 60 s of the servers'"),
        ([3600.0, 3610.0, 0.0], Verdict.WARNING, "1 h 00 min behind the servers'"),
        ([-120.0], Verdict.WARNING, "2 min 00 s ahead of the servers'"),
    ],
)
def test_the_clock_is_compared_with_those_of_servers(ahead_s: list[float], verdict: Verdict, told: str) -> None:
    found = addresses.clock(ahead_s)
    assert (found.outcome, found.found) == (verdict, told)


def test_what_takes_too_long_is_a_warning_and_what_fails_a_fault(server: OutsideServer) -> None:
    def late() -> list[Finding]:
        server.ended.wait()
        return []

    def refused() -> list[Finding]:
        raise PipelineError("no room", found=1, expected=2, hint="Make some:")

    found = list(together({"late": late, "room": refused}, DownloadConfig(), 0.1))
    assert [finding.found for finding in found] == [
        "not known: it took longer than 0.1 s",
        "no room (found 1, expected 2)",
    ]
    assert [finding.outcome for finding in found] == [Verdict.WARNING, Verdict.FAULT]
    assert found[1].remedy == "Make some"


def test_a_work_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "work/demo"))
    (free,) = disks.work_folder(storage)
    assert (free.outcome, list(tmp_path.iterdir())) == (Verdict.OK, [])
    with writing(storage):
        _, held = disks.work_folder(storage)
    assert held.found.startswith("process ")
    assert held.outcome is Verdict.WARNING
    with pytest.raises(PipelineError, match="cannot write in /proc/biam"):
        list(disks.work_folder(Storage("/proc/biam/demo")))
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match=r"a part of the path is no folder: cannot write in .*file/demo"):
        list(disks.work_folder(Storage(str(tmp_path / "file/demo"))))


def test_without_a_home_folder_there_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("HOME", "/dev/null")
    (found,) = disks.fetched_folder()
    assert (found.outcome, found.remedy) == (Verdict.WARNING, f"Set {CACHE_VARIABLE} to a folder")


def test_a_proxy_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:3128")
    assert "https: http://proxy.example:3128" in [finding.found for finding in machine.proxies()]


@pytest.fixture
def openimages(server: OutsideServer, tmp_path: Path) -> list[str]:
    """Settings of a small Open Images. The server has its list of test images, and six images of seven."""
    settings: dict[str, Any] = write_files(tmp_path / "lists", SIZES)
    start = 0
    for split, size in SIZES.items():
        numbers = range(start, start + size.images)
        server.files |= {f"/{split}/{image_id(number)}.jpg": picture(number) for number in numbers if number % 7}
        start += size.images
    server.files["/test.csv"] = Path(settings["images"]["test"]).read_bytes()
    settings["images"]["test"] = f"{server.base}/test.csv"
    settings |= {"bucket": server.base, "sources": ["bucket"]}
    write_toml(tmp_path / "openimages.toml", settings)
    words = (f"word{number} {number % 7} {number % 5} {number % 3 + 1}\n" for number in range(80))
    (tmp_path / "words.txt").write_text("".join(words))
    return [*PLAIN, LOOPBACK, f"embed.vectors={tmp_path / 'words.txt'}", "download.timeout_s=5"]


def settings(tmp_path: Path, *sets: str) -> Config:
    return configuration("openimages", tmp_path / "openimages.toml", {}, sets, tmp_path / "work")


def checked(config: Config, tmp_path: Path, images: int | None = None) -> dict[str, Finding]:
    found = flow.check(config, tmp_path / "work", images, quiet=True)
    assert (found.problem is None) == all(finding.outcome is not Verdict.FAULT for finding in found.findings)
    return {finding.name: finding for finding in found.findings}


def index_of(config: Config, tmp_path: Path) -> None:
    """Leave what the stage `index` leaves."""
    root = tmp_path / "work/openimages"
    root.mkdir(parents=True)
    task = task_of("index", root, index.Settings(config.dataset, config.download))
    for receipt in sealed(task, index.run(task)):
        Ledger(task.storage, "index", "index", RECORD).write(receipt)


def test_images_are_sought_before_there_is_an_index_and_after(
    openimages: list[str], server: OutsideServer, tmp_path: Path
) -> None:
    config = settings(tmp_path, *openimages)
    found = checked(config, tmp_path)
    assert found["images: bucket"].found == "ok 11, not_found 1"
    assert found["images"].found == "11 of 12 can be had from some source"
    assert found["images"].outcome is Verdict.WARNING  # more than may fail
    assert found["dataset.images.test"].found.endswith(f"{server.base}/test.csv")
    assert found["clock"].found == "within 60 s of the servers'"
    assert server.ranges["/test.csv"] == "bytes=0-65535"
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "cache").exists()
    index_of(config, tmp_path)
    server.files = {}
    found = checked(config, tmp_path)
    assert found["images"].found == "0 of 10 can be had from some source"
    assert found["images"].outcome is Verdict.FAULT
    assert found["images: bucket"].found.startswith("not_found 10: HTTP 404, such as 'train/")
    assert found["dataset.images.test"].found.startswith(f"{size_of(config)}, fetched: ")


def size_of(config: Any) -> str:
    from schemas.readable import size_text

    return size_text(Path(config.dataset.images["validation"]).with_name("test-images.csv").stat().st_size)


def test_archives_are_asked_for_their_beginning_alone(
    openimages: list[str], server: OutsideServer, tmp_path: Path
) -> None:
    server.files |= {"/tar/test.tar.gz": b"\x1f\x8b" + bytes(10**6), "/tar/validation.tar.gz": b"none"}
    config = settings(tmp_path, *openimages, 'dataset.sources=["tar"]', 'dataset.splits=["validation","test"]')
    found = [finding for finding in flow.check(config, tmp_path / "work").findings if finding.name == "images: tar"]
    assert [finding.outcome for finding in found] == [Verdict.OK, Verdict.WARNING]
    assert found[1].found.startswith("it begins with b'none'")
    assert server.ranges["/tar/test.tar.gz"] == "bytes=0-65535"


def test_dead_servers_are_given_up_and_told(openimages: list[str], server: OutsideServer, tmp_path: Path) -> None:
    server.files = dict.fromkeys([*server.files, "/words.txt"])
    sets = [*openimages, f"embed.vectors={server.base}/words.txt", "download.timeout_s=1", "download.attempts=1"]
    found = checked(settings(tmp_path, *sets), tmp_path)
    for name in ("embed.vectors", "dataset.images.test", "images"):
        assert "no whole answer within" in found[name].found
        assert found[name].outcome is Verdict.FAULT


def test_some_images_go_through_all_stages_and_leave_nothing(
    openimages: list[str], tmp_path: Path, temporary: Path
) -> None:
    config = settings(
        tmp_path, *openimages, "embed.missing=drop", "model.channels=8", "extract.max_failed_fraction=0.5"
    )
    index_of(config, tmp_path)
    found = flow.check(config, tmp_path / "work", 60, quiet=True)
    told = {finding.name: finding for finding in found.findings}
    assert (told["rehearsal"].outcome, told["rehearsal"].found) == (Verdict.OK, "60 images went through all stages")
    assert told["all images"].found.endswith(" free")
    assert " for 180 images, " in told["all images"].found
    assert found.rehearsal is not None
    stages = {stage.name: stage for stage in found.rehearsal.stages}
    assert stages["extract"].all_bytes == pytest.approx(3 * stages["extract"].size_bytes)
    assert stages["embed"].all_bytes == stages["embed"].size_bytes
    assert list(temporary.iterdir()) == []
    assert {path.name for path in (tmp_path / "work/openimages").iterdir()} == {
        "annotations",
        "credits",
        "index",
        "labels.parquet",
    }
    assert any(line.startswith("extract") for line in console.check_lines(found))


def test_after_a_fault_no_image_is_run(tmp_path: Path, temporary: Path) -> None:
    sets = [*PLAIN, "dataset.num_images=40", f"embed.vectors={tmp_path / 'no.txt'}"]
    found = checked(configuration("demo", None, {}, sets, tmp_path / "work"), tmp_path, 20)["rehearsal"]
    assert (found.outcome, found.found) == (Verdict.WARNING, "not run, for what stands above")
    assert list(temporary.iterdir()) == []


def test_what_a_run_that_failed_left_is_kept_and_its_place_told(tmp_path: Path, temporary: Path) -> None:
    config = configuration("demo", None, {}, PLAIN, tmp_path / "work")

    def failing(small: Config, folder: Path) -> NoReturn:
        assert small.train.epochs < config.train.epochs
        folder.mkdir()
        (folder / "shard").write_text(str(small.dataset.model_dump()["num_images"]))
        raise PipelineError("no room for it", hint="Make some, run the same command:", run=AGAIN)

    rehearsal, (found,) = rehearse(config, Storage(str(tmp_path / "work/demo")), 30, failing)
    (kept,) = temporary.iterdir()
    assert rehearsal is None
    assert (kept / "work/shard").read_text() == "30"
    assert found.found == f"no room for it; what it left is kept in {kept}/work"
    assert (found.outcome, found.remedy) == (Verdict.FAULT, "Make some, run the same command")


def test_an_interruption_is_no_finding_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    def interrupted(small: Config, folder: Path) -> NoReturn:
        folder.mkdir()
        raise InterruptedRunError("interrupted")

    config = configuration("demo", None, {}, PLAIN, tmp_path / "work")
    with pytest.raises(InterruptedRunError):
        rehearse(config, Storage(str(tmp_path / "work/demo")), 30, interrupted)
    assert list(temporary.iterdir()) == []


def test_a_data_set_without_a_limit_is_refused(tmp_path: Path) -> None:
    config = configuration("demo", None, {}, PLAIN, tmp_path / "work")
    other = config.model_copy(update={"dataset": DatasetSection(name="albums")})
    with pytest.raises(UsageError, match="data set 'albums' has no setting `limit`, expected one, by which --images"):
        rehearse(other, Storage(str(tmp_path / "work/albums")), 30, lambda *_: pytest.fail("it ran"))
