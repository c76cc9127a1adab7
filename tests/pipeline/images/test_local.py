import os
from pathlib import Path

import pytest

from pipeline.images.local import read_local
from pipeline.images.problem import ImageProblem
from schemas.status import ImageStatus


def test_the_bytes_of_a_file(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"12345")
    assert read_local(str(tmp_path / "a.jpg"), max_bytes=5) == b"12345"


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("large", ImageStatus.TOO_LARGE, "more bytes than download.max_bytes = 4"),
        ("none", ImageStatus.MISSING_FILE, "no such file"),
        ("large/below", ImageStatus.MISSING_FILE, "no such file"),
        ("pipe", ImageStatus.UNREADABLE_FILE, "not a regular file"),
        (".", ImageStatus.UNREADABLE_FILE, "not a regular file"),
        ("x" * 300, ImageStatus.UNREADABLE_FILE, "file name too long"),
        ("a\0b", ImageStatus.BAD_ADDRESS, "zero byte"),
    ],
)
def test_what_cannot_be_read_has_a_status(tmp_path: Path, name: str, status: ImageStatus, text: str):
    (tmp_path / "large").write_bytes(b"12345")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageProblem, match=text) as found:
        read_local(str(tmp_path / name), max_bytes=4)
    assert found.value.status == status
