"""One writer at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.lock import writing
from schemas.errors import PipelineError

_HOLD = """
import sys
from pathlib import Path
from pipeline.core.lock import writing
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
        holder.kill()
        holder.wait()
    with writing(tmp_path):
        pass
