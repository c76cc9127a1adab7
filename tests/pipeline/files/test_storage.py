"""Commits: whole or not at all."""

from pathlib import Path

import pytest

from pipeline.files.storage import Storage, users_folder
from schemas.errors import PipelineError, UsageError


def test_a_committed_file_holds_the_bytes_and_nothing_else_is_left(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("a/b.txt", b"one")
    storage.write("a/b.txt", b"two")
    assert storage.read("a/b.txt") == b"two"
    assert storage.sizes("a") == {"b.txt": 3}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("b.txt", b"old")

    def write_half() -> None:
        with storage.commit("b.txt") as path:
            path.write_bytes(b"ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(PipelineError, match=r"the disk is full: cannot write .*b.txt. Free space"):
        write_half()
    assert storage.read("b.txt") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


def test_what_killed_writers_left_is_no_file_and_is_swept(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("a/b.txt", b"one")
    (tmp_path / "a/.b.txt.0123.tmp").write_bytes(b"torn")
    (tmp_path / "a/.tmpX3a9bQ").write_bytes(b"what safetensors calls a file on its way")
    assert storage.sizes("a") == {"b.txt": 3}
    storage.sweep()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_safetensors_calls_a_file_on_its_way_as_sweep_expects(tmp_path: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with pytest.raises(SafetensorError) as error:
        save_file({"a": torch.zeros(1)}, tmp_path / "absent/x")
    name = Path(str(error.value).rpartition('at path "')[2].rstrip('"')).name
    (tmp_path / name).touch()
    Storage(str(tmp_path)).sweep()
    assert list(tmp_path.iterdir()) == []


def test_the_newest_file_of_a_pattern_is_found(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert storage.newest("runs/*/x.parquet") is None
    storage.write("runs/one/x.parquet", b"1")
    storage.write("runs/two/x.parquet", b"2")
    assert storage.newest("runs/*/x.parquet") == "runs/two/x.parquet"


def test_a_committed_file_has_the_mode_that_the_umask_gives_whatever_made_it(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with Storage(str(tmp_path)).commit("made") as path:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
    assert (tmp_path / "made").stat().st_mode == plain.stat().st_mode


def test_a_folder_of_a_users_is_made_or_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert users_folder(tmp_path / "a/b", "convert").local("").is_dir()
    with pytest.raises(UsageError, match=r"--out wants a folder of this machine, got gs://bucket/x. Mount it"):
        users_folder(Path("gs://bucket/x"), "convert")
    with pytest.raises(UsageError, match=rf"convert: --out wants a folder, and {tmp_path}/file is a file. Use another"):
        users_folder(tmp_path / "file", "convert")
    with pytest.raises(PipelineError, match=r"cannot write in .*inner \(Not a directory\), expected a folder. Use an"):
        users_folder(tmp_path / "file/inner", "convert")
