"""Files from outside: read once a version, whatever size and time stamp say, and the same at the end of a task."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.engine.sources import Sources, require_unchanged
from pipeline.files.storage import Storage, sha256_file
from schemas.errors import IntegrityError, PipelineError


def rewritten(path: Path) -> None:
    """Other bytes of the same number, under the same time stamp."""
    seen = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def replaced(path: Path) -> None:
    """Another file of the same size and time stamp in its place."""
    other = path.with_name("other")
    other.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A file from outside."""
    path = tmp_path / "words.txt"
    path.write_bytes(b"cat 1 2")
    return path


def work(tmp_path: Path) -> Storage:
    """A work folder beside it."""
    return Storage(str(tmp_path / "work"))


@pytest.mark.parametrize("change", [rewritten, replaced])
def test_a_file_changed_under_its_old_size_and_time_stamp_is_read_again(
    tmp_path: Path, words: Path, change: Callable[[Path], None]
) -> None:
    sources = Sources(work(tmp_path))
    sources.hashes([str(words)])
    sources.save()
    change(words)
    again = Sources(work(tmp_path))
    assert again.hashes([str(words)]) == {str(words): sha256_file(words)}
    assert again.learnt


def test_a_file_that_stayed_is_read_once(tmp_path: Path, words: Path) -> None:
    sources = Sources(work(tmp_path))
    before = sources.hashes([str(words)])
    sources.save()
    again = Sources(work(tmp_path))
    assert again.hashes([str(words)]) == before
    assert not again.learnt


@pytest.mark.parametrize("change", [rewritten, replaced])
def test_a_file_changed_while_a_task_reads_it_is_refused(words: Path, change: Callable[[Path], None]) -> None:
    hashes = {str(words): sha256_file(words)}
    require_unchanged(hashes)
    change(words)
    told = rf"{words} is no longer the file that the run began with \(found sha256 \w+, expected {hashes[str(words)]}\)"
    with pytest.raises(IntegrityError, match=told):
        require_unchanged(hashes)
    words.unlink()
    with pytest.raises(PipelineError, match=r"cannot read the file .*words\.txt: No such file"):
        require_unchanged(hashes)
