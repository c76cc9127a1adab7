"""Who may change a work folder, compared with each commit."""

import json
import os
import threading
from pathlib import Path

import pytest

from pipeline.files import lock
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from schemas.errors import HeldFolderError


def test_nothing_is_committed_removed_or_made_once_the_run_has_ended(tmp_path: Path) -> None:
    with writing(Storage(str(tmp_path / "work"))) as lease:
        storage = lease.storage
        storage.write("a/one", b"1")
        committing = storage.commit("a/two")
        committing.__enter__().write_bytes(b"2")
        lease.end()
        with pytest.raises(HeldFolderError, match="no longer held by this run"):
            committing.__exit__(None, None, None)
    for change in (lambda: storage.remove("a/one"), lambda: storage.scratch("b"), lambda: storage.write("c", b"")):
        with pytest.raises(HeldFolderError, match="run the same command"):
            change()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".lock", "a", "one", "work"]


def test_one_who_does_not_see_the_folder_makes_none(tmp_path: Path) -> None:
    with writing(Storage(str(tmp_path / "work"))) as lease:
        elsewhere = Storage(str(tmp_path / "elsewhere"), lease.storage.guards)
        with pytest.raises(HeldFolderError):
            elsewhere.write("a", b"")
    assert not (tmp_path / "elsewhere").exists()


def test_the_next_run_is_another(tmp_path: Path) -> None:
    with writing(Storage(str(tmp_path))) as first:
        pass
    with writing(Storage(str(tmp_path))) as second:
        second.storage.write("a", b"")
        with pytest.raises(HeldFolderError):
            first.storage.write("a", b"")


def test_an_attempt_commits_nothing_once_the_next_has_begun_or_is_over(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with storage.attempt("a", "shard-00000") as given_up:
        given_up.write("a/one", b"1")
        with storage.attempt("a", "shard-00000") as second, storage.attempt("a", "shard-00001"):
            second.write("a/one", b"2")
            with pytest.raises(HeldFolderError, match="this attempt"):
                given_up.write("a/one", b"3")
        with pytest.raises(HeldFolderError):
            given_up.write("a/one", b"3")
    assert (tmp_path / "a/one").read_bytes() == b"2"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["one"]


def test_a_writer_elsewhere_keeps_the_folder_while_it_renews_its_lease_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where locks do not reach other hosts."""
    monkeypatch.setattr(lock, "_SILENT_S", 0.2)
    told = {"pid": 7, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00", "run": "theirs"}
    (tmp_path / ".lock").write_text(json.dumps(told))
    over = threading.Event()

    def renew() -> None:
        number = 0
        while not over.wait(0.01):
            os.utime(tmp_path / ".lock", (0, number := number + 1))

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        with pytest.raises(HeldFolderError, match="written by process 7 on elsewhere since 2026"):
            writing(Storage(str(tmp_path))).__enter__()
    finally:
        over.set()
        renewing.join()
    with writing(Storage(str(tmp_path))) as lease:
        lease.storage.write("a", b"")
