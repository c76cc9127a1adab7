"""Packages of other programs that have the name of one of ours: one clear error, for the door and the command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from biam_pipe.own import require_own

ROOT = Path(__file__).resolve().parents[2]


def python(*arguments: str, paths: list[Path]) -> subprocess.CompletedProcess[str]:
    places = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run([sys.executable, *arguments], env=places, cwd=paths[0], capture_output=True, text=True)


def other(folder: Path, name: str) -> Path:
    """A package of somebody else."""
    file = folder / name / "__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text("steps = []\n")
    return file


def test_ours_are_ours() -> None:
    require_own()


@pytest.mark.parametrize("name", ["pipeline", "schemas", "dags"])
def test_a_foreign_package_is_named_by_the_door_and_by_the_command(tmp_path: Path, name: str) -> None:
    file = other(tmp_path, name)
    told = f"biam-pipe: {name!r} is another program's, found at {file}, expected ours at {ROOT / name}/__init__.py. Use"
    command = python("-m", "biam_pipe", "show", "stores", paths=[tmp_path, ROOT])
    assert (command.returncode, command.stdout, command.stderr.count("\n")) == (1, "", 1)
    assert command.stderr.startswith(told)
    door = python("-c", "from biam_pipe import open_features", paths=[tmp_path, ROOT])
    assert door.stderr.splitlines()[-1].startswith(f"ImportError: {told}")


def test_a_package_that_was_installed_over_ours_and_one_that_is_gone_are_named(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "biam_pipe", tmp_path / "biam_pipe")
    for name in ("dags", "schemas"):
        (tmp_path / name).mkdir()
        shutil.copy(ROOT / name / "__init__.py", tmp_path / name)
    shutil.copy(ROOT / "cli.py", tmp_path)
    command = python("-S", "-m", "biam_pipe", paths=[tmp_path])
    assert f"there is no {tmp_path}/pipeline/__init__.py, expected our own 'pipeline'" in command.stderr
    file = other(tmp_path, "pipeline")
    command = python("-S", "-m", "biam_pipe", paths=[tmp_path])
    assert f"'pipeline' is another program's, found at {file}, expected ours at {file}" in command.stderr


def test_the_command_runs_by_the_name_of_the_package_and_help_loads_nothing_of_it_twice() -> None:
    assert "demo" in python("-m", "biam_pipe", "show", "datasets", paths=[ROOT]).stdout
    listed = python(
        "-c", "import biam_pipe, sys; print(dir(biam_pipe)); print('pipeline' in sys.modules)", paths=[ROOT]
    )
    assert "'open_features'" in listed.stdout
    assert listed.stdout.endswith("False\n")
    wrong = python("-c", "from biam_pipe import nothing", paths=[ROOT])
    assert "ImportError: cannot import name 'nothing' from 'biam_pipe'" in wrong.stderr
