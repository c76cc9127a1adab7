"""What `biam-pipe --version` says."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from pipeline.commands.version import program

NUMBER = f"biam-pipe {version('biam-pipe')}"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "--no-gpg-sign", "--message", "Begin")
    git(tmp_path, "tag", "v9")
    return tmp_path


def test_the_command_line_tells_the_version() -> None:
    done = CliRunner().invoke(cli.app, ["--version"])
    assert (done.exit_code, done.output) == (0, program() + "\n")
    assert program().startswith(NUMBER)


def test_code_that_is_no_checkout_has_a_version_and_no_commit(tmp_path: Path) -> None:
    assert program(tmp_path) == NUMBER


def test_a_checkout_tells_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    assert program(checkout) == f"{NUMBER} (commit {commit})"
    (checkout / "code.py").write_text("changed")
    assert program(checkout) == f"{NUMBER} (commit {commit}-dirty)"


def test_a_checkout_without_git_or_that_git_cannot_read_has_a_version(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(checkout / ".git" / "objects")
    assert program(checkout) == NUMBER
    monkeypatch.setenv("PATH", "")
    assert program(checkout) == NUMBER
