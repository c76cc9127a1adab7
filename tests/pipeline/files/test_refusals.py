"""What the system refuses: every cause is told with the file, and nothing else is taken for one."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from safetensors import SafetensorError

from pipeline.files import refusals, storage
from pipeline.files.refusals import refusal
from pipeline.files.storage import Storage
from schemas.errors import PipelineError

TABLE = pa.table({"number": list(range(300_000))})

_WITHIN = """
import resource, sys
from pathlib import Path
sys.path[:0] = [".", "tests/support", "tests/pipeline/files"]
import test_refusals
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    test_refusals.WRITERS[sys.argv[1]](Path(sys.argv[2]))
except test_refusals.PipelineError as error:
    print(error)
"""


def _spool(folder: Path) -> None:
    from pipeline.files.table_spool import open_table_spool

    with open_table_spool(folder / "spool", iter([TABLE]), TABLE.schema):
        pass


def _model(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    with Storage(str(folder)).commit("model.safetensors") as path:
        save_file({"a": torch.zeros(100_000)}, path)


def _table(folder: Path) -> None:
    from pipeline.files.tables import write_table

    write_table(Storage(str(folder)), "t.parquet", TABLE)


def _bytes(folder: Path) -> None:
    Storage(str(folder)).write("b", bytes(100_000))


WRITERS: dict[str, Callable[[Path], None]] = {"spool": _spool, "model": _model, "table": _table, "bytes": _bytes}


@pytest.mark.parametrize(
    ("writer", "path"), [("spool", "spool"), ("model", "model.safetensors"), ("table", "t.parquet"), ("bytes", "b")]
)
def test_whatever_library_writes_a_file_without_room_is_an_error_that_names_it(
    tmp_path: Path, writer: str, path: str
) -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", _WITHIN, writer, str(tmp_path)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("the limit (ulimit -f) on the size of a file is reached: cannot ")
    assert f" {tmp_path}/{path}. Free space, run the same command" in ended.stdout
    assert not [name for _, _, names in os.walk(tmp_path) for name in names]


@pytest.mark.parametrize("number", refusals._CAUSES)
@pytest.mark.parametrize(
    "error",
    [
        lambda number: OSError(number, os.strerror(number)),
        lambda number: SafetensorError(
            f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})"
        ),
        lambda number: pa.ArrowInvalid(f"Error writing bytes. Detail: [errno {number}] {os.strerror(number)}"),
        lambda number: OSError(f"Unable to open file (errno = {number}, error message = '{os.strerror(number)}')"),
    ],
    ids=["system", "safetensors", "arrow", "hdf5"],
)
def test_each_cause_is_told_whichever_library_says_it(error: Callable[[int], Exception], number: int) -> None:
    told = refusal(error(number), "work/demo/x", "write")
    assert told is not None
    words, remedy = refusals._CAUSES[number]
    assert str(told) == f"{words}: cannot write work/demo/x. {remedy}, run the same command"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("[Errno 28] in a text of ours"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        OSError("no number"),
        pa.ArrowInvalid("Parquet magic bytes not found"),
        SafetensorError("header too large"),
    ],
)
def test_what_the_system_did_not_refuse_is_left_alone(error: Exception) -> None:
    assert refusal(error, "x") is None


def test_a_file_that_the_error_names_is_told_and_a_temporary_one_is_not() -> None:
    denied = PermissionError(errno.EACCES, "Permission denied", "photos/a.jpg")
    assert "permission is denied: cannot read or write photos/a.jpg" in str(refusal(denied, "work/x", "write"))
    denied = PermissionError(errno.EACCES, "Permission denied", "work/.x.0123.tmp")
    assert "permission is denied: cannot write work/x" in str(refusal(denied, "work/x", "write"))


@pytest.mark.parametrize("method", ["read", "size_bytes", "exists", "sizes", "is_whole", "sha256"])
def test_a_disk_that_fails_under_a_reader_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    (tmp_path / "x").write_bytes(b"1")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for place, name in (
        (Path, "read_bytes"),
        (Path, "stat"),
        (Path, "exists"),
        (Path, "open"),
        (storage.os, "scandir"),
    ):
        monkeypatch.setattr(place, name, fail)
    with pytest.raises(
        PipelineError, match=rf"the disk fails \(input/output error\): cannot read {tmp_path}/x\. See to"
    ):
        getattr(Storage(str(tmp_path)), method)("x")


def test_files_without_number_are_too_many_for_a_process(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = os.open(tmp_path, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (held, hard))
    try:
        with pytest.raises(PipelineError, match=r"this process has too many files open: cannot read .*/x. Allow more"):
            Storage(str(tmp_path)).read("x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(held)


def test_a_name_that_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"a name is too long: cannot write .*aaa"):
        Storage(str(tmp_path)).write("a" * 250, b"1")
