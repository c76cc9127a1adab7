"""One writer at a time."""

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
from schemas.errors import PipelineError

_HOLD = """
import sys
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
with writing(Storage(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    told = pytest.raises(PipelineError, match=r"is being written by process \d+ on .* since 20")
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


def test_a_process_that_began_after_the_writer_is_another_and_one_elsewhere_cannot_be_seen(tmp_path: Path) -> None:
    told = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2001-01-01T00:00:00+00:00"}
    (tmp_path / ".lock").write_text(json.dumps(told))
    assert writer(Storage(str(tmp_path))) == Writer(**told, alive=False)
    (tmp_path / ".lock").write_text(json.dumps(told | {"host": "elsewhere"}))
    assert writer(Storage(str(tmp_path))) == Writer(**told | {"host": "elsewhere"}, alive=None)


@pytest.mark.parametrize(
    "text", [b'{"pid": 1', b"\xff\xfe{}", b"[1]", b'{"pid": "x", "host": "h", "since": "2001"}', b"7"]
)
def test_a_lock_file_that_cannot_be_read_names_nobody_and_stops_nobody(tmp_path: Path, text: bytes) -> None:
    (tmp_path / ".lock").write_bytes(text)
    assert writer(Storage(str(tmp_path))) is None
    with (tmp_path / ".lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PipelineError, match="written by another process"), writing(Storage(str(tmp_path))):
            pass
    with writing(Storage(str(tmp_path))):
        pass
