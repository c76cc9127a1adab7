"""Which program this is: its version, and the commit where it runs from a git checkout."""

import subprocess
from importlib.metadata import version
from pathlib import Path

_TOP = Path(__file__).parents[2]
_TIMEOUT_S = 10


def program(top: Path = _TOP) -> str:
    """`biam-pipe 0.1.0`, and its commit where git knows one: `biam-pipe 0.1.0 (commit 57c4b2f0a1b2-dirty)`.

    Args:
        top: the folder that holds the code.
    """
    commit = _commit(top)
    return f"biam-pipe {version('biam-pipe')}" + (f" (commit {commit})" if commit else "")


def _commit(top: Path) -> str | None:
    if not (top / ".git").exists():
        return None
    command = ["git", "-C", str(top), "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):  # no git here, or none that trusts this folder
        return None
