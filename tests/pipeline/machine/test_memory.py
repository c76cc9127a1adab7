"""Processes start with the environment that was meant for them, and this one keeps its own."""

import os
import subprocess
import sys

import pytest

from pipeline.machine.environment import environment
from pipeline.machine.memory import compact

TUNABLES = "GLIBC_TUNABLES"


def seen_by_a_child() -> str:
    code = f"import os; print(os.environ.get({TUNABLES!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_process_starts_without_blocks_kept_apart_and_this_one_stays_as_it_was(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(TUNABLES, raising=False)
    with environment(compact()):
        assert seen_by_a_child() == "glibc.malloc.tcache_count=0"
    assert TUNABLES not in os.environ


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TUNABLES, "glibc.malloc.arena_max=1")
    with environment(compact()):
        assert seen_by_a_child() == "glibc.malloc.arena_max=1"


def test_a_variable_gets_its_value_back_after_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TUNABLES, "before")
    with pytest.raises(ValueError, match="stop"), environment({TUNABLES: "meanwhile"}):
        raise ValueError("stop")
    assert os.environ[TUNABLES] == "before"
