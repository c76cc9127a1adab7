"""Runs that are killed, interrupted, out of time or on failing disks lose nothing: a sample of benchmarks/disturbed.py.

Its kills and moments follow each other in one work folder each, so that what one leaves is what the next one meets.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def played() -> list[str]:
    """A line for each disturbance, and one for what cannot be played on this system."""
    command = [sys.executable, "-m", "benchmarks.disturbed", "--few"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode in (0, 1), ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("part", ["kills", "disks", "moments"])
def test_a_disturbed_run_is_whole_and_the_next_one_ends_as_if_nothing_had_been(played: list[str], part: str) -> None:
    lines = [line for line in played if line.startswith(f"{part}: ") and line.endswith(")")]
    if part == "disks" and (skipped := [line for line in played if line.startswith("skipped: ")]):
        pytest.skip("; ".join(skipped))
    assert lines
    assert [line for line in lines if ": equal (" not in line] == []
