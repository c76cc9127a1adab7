"""One writer at a time."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.files.lock import Writer, writer, writing
from pipeline.files.storage import Storage
from schemas.errors import HeldFolderError, PipelineError

_HOLD = """
import sys
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
with writing(Storage(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    told = pytest.raises(HeldFolderError, match=r"is being written by process \d+ on .* since 20")
    with writing(Storage(str(tmp_path))), told, writing(Storage(str(tmp_path))):
        pass
    with writing(Storage(str(tmp_path))):
        pass


def test_the_lock_of_a_killed_process_does_not_stay(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(PipelineError, match=f"process {holder.pid} on"), writing(Storage(str(tmp_path))):
            pass
        here = writer(Storage(str(tmp_path)))
        assert here is not None
        assert (here.pid, here.alive) == (holder.pid, True)
        holder.kill()
        holder.wait()
    assert writer(Storage(str(tmp_path))) == replace(here, alive=False)
    with writing(Storage(str(tmp_path))):
        pass
    assert writer(Storage(str(tmp_path))) is None


def test_a_writer_that_ends_with_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="an error"), writing(Storage(str(tmp_path))):
        raise PipelineError("an error")
    assert writer(Storage(str(tmp_path))) is None


def test_a_run_that_was_taken_for_dead_leaves_the_folder_to_the_other(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with writing(storage) as lease:
        lease.storage.write("mine/shard", b"1")
        taken = json.dumps({"pid": 1, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00", "run": "f" * 32})
        storage.local(".lock").write_text(taken)  # by a host that the lock of this one does not reach
        for change in (
            lambda: lease.storage.write("mine/shard", b"2"),
            lambda: lease.storage.remove("mine/shard"),
            lambda: lease.storage.remove_folder("mine"),
            lease.storage.sweep,
        ):
            with pytest.raises(HeldFolderError, match="is no longer held by this run"):
                change()
        lease.end()  # as a run does when it meets such an error
    assert storage.local(".lock").read_text() == taken
    assert storage.read("mine/shard") == b"1"


def test_a_process_that_began_after_the_writer_is_another_and_one_elsewhere_cannot_be_seen(tmp_path: Path) -> None:
    told = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2001-01-01T00:00:00+00:00"}
    (tmp_path / ".lock").write_text(json.dumps(told))
    assert writer(Storage(str(tmp_path))) == Writer(**told, alive=False)
    (tmp_path / ".lock").write_text(json.dumps(told | {"host": "elsewhere"}))
    assert writer(Storage(str(tmp_path))) == Writer(**told | {"host": "elsewhere"}, alive=None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"pid": 1',
        b"\xff\xfe{}",
        b"[1]",
        b"7",
        b"null",
        b"[" * 4096,
        b'{"pid": "x", "host": "h", "since": "2001-01-01"}',
        b'{"pid": 1, "host": "h", "since": 7}',
        b'{"pid": 1, "host": "h", "since": "0001-01-01T00:00:00+23:00"}',
        b'{"pid": [], "host": "h", "since": "2001-01-01"}',
        b'{"pid": -1, "host": "h", "since": "2001-01-01"}',
        b'{"pid": Infinity, "host": "h", "since": "2001-01-01"}',
        b'{"pid": 1' + b"0" * 30 + b', "host": "h", "since": "2001-01-01"}',
        b'{"pid": 1, "host": "\\ud800", "since": "2001-01-01"}',
    ],
)
def test_a_lock_file_that_cannot_be_read_names_nobody_and_stops_nobody(tmp_path: Path, text: bytes) -> None:
    (tmp_path / ".lock").write_bytes(text)
    assert writer(Storage(str(tmp_path))) is None
    with (tmp_path / ".lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(HeldFolderError, match="written by another process"), writing(Storage(str(tmp_path))):
            pass
    with writing(Storage(str(tmp_path))):
        pass


def test_what_stands_in_the_place_of_the_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    assert writer(Storage(str(tmp_path))) is None
    with pytest.raises(PipelineError, match=r"\.lock is no file, so nobody can hold .*Remove it"):
        writing(Storage(str(tmp_path))).__enter__()
    (tmp_path / ".lock").rmdir()
    os.mkfifo(tmp_path / ".lock")
    assert writer(Storage(str(tmp_path))) is None  # opened, it would wait for somebody who writes
    with pytest.raises(PipelineError, match=r"\.lock is no file"):
        writing(Storage(str(tmp_path))).__enter__()


def test_a_folder_that_cannot_be_made_or_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match=r"a part of the path is no folder: cannot .*file/demo"):
        writing(Storage(str(tmp_path / "file/demo"))).__enter__()

    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    with pytest.raises(PipelineError, match=r"the file system gives no locks: cannot lock .*/\.lock.* with flock"):
        writing(Storage(str(tmp_path))).__enter__()
