"""One writer at a time."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.files.lock import Writer, writer, writing
from schemas.errors import PipelineError

_HOLD = """
import sys
from pathlib import Path
from pipeline.files.lock import Writer, writer, writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    told = pytest.raises(PipelineError, match=r"is being written by process \d+ on .* since 20")
    with writing(tmp_path), told, writing(tmp_path):
        pass
    with writing(tmp_path):
        pass


def test_the_lock_of_a_killed_process_does_not_stay(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(PipelineError, match=f"process {holder.pid} on"), writing(tmp_path):
            pass
        here = writer(tmp_path)
        assert here is not None
        assert (here.pid, here.alive) == (holder.pid, True)
        holder.kill()
        holder.wait()
    assert writer(tmp_path) == replace(here, alive=False)
    with writing(tmp_path):
        pass
    assert writer(tmp_path) is None


def test_a_writer_that_ends_with_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="an error"), writing(tmp_path):
        raise PipelineError("an error")
    assert writer(tmp_path) is None


def test_a_process_that_began_after_the_writer_is_another_and_one_elsewhere_cannot_be_seen(tmp_path: Path) -> None:
    told = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2001-01-01T00:00:00+00:00"}
    (tmp_path / ".lock").write_text(json.dumps(told))
    assert writer(tmp_path) == Writer(**told, alive=False)
    (tmp_path / ".lock").write_text(json.dumps(told | {"host": "elsewhere"}))
    assert writer(tmp_path) == Writer(**told | {"host": "elsewhere"}, alive=None)
    (tmp_path / ".lock").write_text('{"pid": 1')
    assert writer(tmp_path) is None
