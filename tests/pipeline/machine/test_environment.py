"""A user without a home folder, as containers have them."""

import os
from pathlib import Path

import pytest

from pipeline.machine.environment import home, provide_home
from pipeline.net.fetch import CACHE_VARIABLE, cache_folder
from schemas.errors import PipelineError


def test_a_user_without_home_folder_gets_one_in_which_nothing_can_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> int:
        return 2**31 - 7  # no line in the password file

    monkeypatch.delenv("HOME")
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setattr(os, "getuid", nobody)
    assert home() is None
    monkeypatch.setenv("HOME", "")  # to be put back after the test
    monkeypatch.delenv("HOME")
    provide_home()
    assert Path("~/.config").expanduser() == Path("/dev/null/.config")
    assert home() is None
    with pytest.raises(
        PipelineError, match=r"no home folder to keep fetched files in. Set BIAM_PIPE_CACHE to a folder"
    ):
        cache_folder()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path


def test_a_home_folder_that_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    provide_home()
    assert home() == tmp_path
