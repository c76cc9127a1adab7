"""Scratch folders: gone after use, and after a kill with the next run."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.files.scratch import kept_aside, own_temporaries, scratch_folder, sweep_scratch
from schemas.errors import PipelineError

_HOLD = """
import sys
from pipeline.files.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "inner").mkdir()
    (folder / "inner/file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_is_there_for_a_while(temporary: Path) -> None:
    with scratch_folder() as first, scratch_folder() as second:
        assert first.parent == second.parent == temporary
        (first / "x").touch()
        sweep_scratch()
        assert (first / "x").exists()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_is_in_use_or_another_s_is_not(temporary: Path) -> None:
    (temporary / "biam-pipe-scratch-notours").touch()
    (temporary / "biam-pipe-scratch-of-somebody").mkdir()
    kept = sorted(temporary.iterdir())
    holder = subprocess.Popen([sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        sweep_scratch()
        assert (left / "inner/file").exists()
        holder.kill()
        holder.wait()
    assert left.exists()
    sweep_scratch()
    assert sorted(temporary.iterdir()) == kept


def test_what_libraries_and_children_put_aside_lies_in_one_folder_that_goes(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "/chosen")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with own_temporaries():
        (folder,) = temporary.iterdir()
        told = "import os, tempfile; print(tempfile.gettempdir(), os.environ['MPLCONFIGDIR'])"
        child = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
        assert tempfile.gettempdir() == str(folder)
        assert child.stdout.split() == [str(folder), "/chosen"]
        assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == folder
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert tempfile.gettempdir() == str(temporary)
    assert list(temporary.iterdir()) == []


def test_a_folder_for_temporary_files_that_is_not_there_is_named(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "absent"))
    with pytest.raises(PipelineError, match=r"it is not there: cannot read or write .*/absent"):
        scratch_folder().__enter__()
    with pytest.raises(PipelineError, match=r"it is not there: cannot read .*/absent"):
        sweep_scratch()


def test_what_is_put_aside_outlives_the_folder_and_every_sweep(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "work").mkdir()
        (folder / "work/file").touch()
        kept = kept_aside(folder / "work")
    sweep_scratch()
    assert [path.name for path in kept.iterdir()] == ["file"]
    assert list(temporary.iterdir()) == [kept.parent]
