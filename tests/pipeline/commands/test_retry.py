"""Failed rows are fetched again when asked for, and the others are not; another list is never taken for the old one."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.fault_server import FaultServer, picture, serving
from pipeline import flow
from pipeline.commands.outcome import Result
from pipeline.commands.retry import RETRIED, failed_statuses
from pipeline.settings.layers import configuration
from schemas.config import Config
from schemas.errors import UsageError
from schemas.status import ImageStatus

FOUND = "folder/downloads/shard-00000.parquet"


@dataclass
class Folder:
    """A work folder of a list of addresses on a server."""

    root: Path
    server: FaultServer
    scheduler: str

    def config(self, *paths: str, sets: Sequence[str] = ()) -> Config:
        labels = self.root / "labels.csv"
        labels.write_text("image,labels\n" + "".join(f"{self.server.base}/{path},x\n" for path in paths))
        usual = ["download.attempts=1", 'download.allowed_networks=["127.0.0.0/8"]', f"dataset.labels={labels}"]
        return configuration("folder", None, {}, [*usual, *sets], self.root / "work")

    def run(self, *paths: str, retry: frozenset[ImageStatus] = frozenset(), sets: Sequence[str] = ()) -> Result:
        request = flow.Request("download", scheduler=self.scheduler, quiet=True, retry=retry)
        return flow.run(self.config(*paths, sets=sets), self.root / "work", request)

    def statuses(self) -> list[str]:
        return pq.read_table(self.root / "work" / FOUND)["status"].to_pylist()


@pytest.fixture
def folder(tmp_path: Path, scheduler: str) -> Iterator[Folder]:
    with serving() as server:
        yield Folder(tmp_path, server, scheduler)


def test_failed_rows_are_fetched_again_where_asked_and_ok_rows_are_not(folder: Folder) -> None:
    paths = ("ok/1", "mendable/1", "code/404", "ok/2")
    folder.run(*paths)
    assert folder.statuses() == ["ok", "server_error", "not_found", "ok"]
    assert folder.run(*paths).ran == {}

    folder.server.mended.set()
    assert folder.run(*paths, retry=RETRIED).ran == {"download": 1}
    assert folder.statuses() == ["ok", "ok", "not_found", "ok"]
    assert folder.server.requests == {"/ok/1": 1, "/mendable/1": 2, "/code/404": 1, "/ok/2": 1}
    images = pq.read_table(folder.root / "work/folder/images/shard-00000.parquet")["data"].to_pylist()
    assert images == [picture(1), picture(), None, picture(2)]

    assert folder.run(*paths, retry=failed_statuses("timeout")).ran == {}
    folder.run(*paths, retry=failed_statuses("timeout,not_found"))
    assert folder.server.requests["/code/404"] == 2
    assert folder.server.requests["/ok/1"] == 1


def test_a_run_in_which_all_failed_is_no_success_and_the_next_tries_again(folder: Folder) -> None:
    first = folder.run("mendable/1", "code/404")
    assert first.problem is not None
    assert first.problem.exit_code == 3

    (_, line) = flow.plan(folder.config("mendable/1", "code/404"), folder.root / "work", flow.Request("download"))
    assert line.reasons == ("failed, to be tried again: not_found 1, server_error 1",)
    folder.server.mended.set()
    folder.run("mendable/1", "code/404")
    assert folder.statuses() == ["ok", "not_found"]
    assert folder.run("mendable/1", "code/404").ran == {}


def test_who_opted_out_did_not_fail_and_is_asked_again_only_by_name(folder: Folder) -> None:
    withheld = "headed/1?X-Robots-Tag=noai"
    assert folder.run(withheld).problem is None
    assert folder.statuses() == ["opted_out"]
    for retry in (None, "all", "timeout,not_found"):
        assert folder.run(withheld, retry=failed_statuses(retry)).ran == {}
    heedless = ["download.respect_opt_out=never"]
    assert folder.run(withheld, sets=heedless).ran == {}  # in no recipe
    assert folder.server.requests.total() == 1
    folder.run(withheld, retry=failed_statuses("opted_out"), sets=heedless)
    assert folder.statuses() == ["ok"]


def test_who_opted_out_counts_in_no_fraction_of_failures(folder: Folder) -> None:
    paths = ("headed/1?X-Robots-Tag=noai", "headed/2?tdm-reservation=1", "ok/1", "code/404")
    problem = folder.run(*paths).problem
    assert str(problem).startswith(
        "1 of 2 images failed (50.0%; extract.max_failed_fraction is 5.0%): not_found 1, such as http://"
    )


def test_damaged_images_are_fetched_as_a_whole_when_some_are_fetched_again(folder: Folder) -> None:
    folder.run("ok/1", "mendable/1")
    shard = folder.root / "work/folder/images/shard-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    folder.server.mended.set()
    folder.run("ok/1", "mendable/1", retry=RETRIED)
    assert folder.statuses() == ["ok", "ok"]
    assert folder.server.requests["/ok/1"] == 2


def test_another_list_of_addresses_is_planned_and_its_images_are_fetched(folder: Folder) -> None:
    folder.run("ok/1", "ok/2")
    index, download = flow.plan(folder.config("ok/3", "ok/4"), folder.root / "work", flow.Request("download"))
    assert (index.to_run, download.to_run) == (1, None)
    assert any(reason.startswith("files ") or reason.endswith("changed") for reason in index.reasons)
    folder.run("ok/3", "ok/4")
    assert folder.statuses() == ["removed", "removed"]
    assert {path: count for path, count in folder.server.requests.items() if path > "/ok/2"} == {"/ok/3": 1, "/ok/4": 1}


def test_a_status_to_retry_is_a_failure_with_a_known_name() -> None:
    assert failed_statuses(None) == frozenset()
    assert ImageStatus.NOT_FOUND not in failed_statuses("all")
    with pytest.raises(UsageError, match=r"unknown status to retry 'timeuot'\. Did you mean 'timeout'"):
        failed_statuses("timeuot")
    with pytest.raises(UsageError, match="unknown status to retry 'ok'"):
        failed_statuses("ok")


def test_a_new_hash_of_a_placeholder_reopens_the_rows_whose_stored_bytes_match_it(folder: Folder) -> None:
    paths = ("ok/1", "ok/2")
    folder.run(*paths)
    sets = [f'download.placeholder_md5=["{hashlib.md5(picture(2)).hexdigest()}"]']

    (_, line) = flow.plan(folder.config(*paths, sets=sets), folder.root / "work", flow.Request("download"))
    assert line.reasons == ("download.placeholder_md5 has new hashes, and stored bytes are compared with them",)
    assert folder.run(*paths, sets=sets).ran == {"download": 1}
    assert folder.statuses() == ["ok", "placeholder"]
    assert folder.server.requests == {"/ok/1": 1, "/ok/2": 2}
    assert folder.run(*paths, sets=sets).ran == {}

    assert folder.run(*paths).ran == {"download": 1}  # the hash is gone again
    assert folder.statuses() == ["ok", "ok"]


def test_a_new_hash_that_no_stored_picture_has_leaves_the_files_alone(folder: Folder) -> None:
    folder.run("ok/1", "ok/2")
    shard = folder.root / "work/folder/images/shard-00000.parquet"
    before = shard.stat()
    assert folder.run("ok/1", "ok/2", sets=['download.placeholder_md5=["aaaa"]']).ran == {"download": 1}
    assert (shard.stat().st_ino, shard.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert folder.run("ok/1", "ok/2", sets=['download.placeholder_md5=["aaaa"]']).ran == {}
