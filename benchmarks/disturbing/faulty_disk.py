"""The library that makes a disk fail, or kills, at chosen calls: made of faulty_disk.c, told by the environment."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from shutil import which

_SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Struck:
    """Which calls are struck, and how.

    Attributes:
        call: `write`, `fsync`, or `name`: to create, open for writing, rename or remove.
        path: POSIX expression for the path of the file below the trial's folder, which Python reads alike.
        action: number of an error, or the processes to kill: `main`, `all` or `self`.
        nth: the first one that is struck, of all processes together.
        times: so many from there on; 0 for all of them.
    """

    call: str
    path: str
    action: str
    nth: int = 1
    times: int = 0

    def calls(self, made: Iterable[tuple[str, str]]) -> int:
        """How many of the calls of an undisturbed run it is about."""
        return sum(call == self.call and re.search(f"^{self.path}", path) is not None for call, path in made)


@dataclass(frozen=True)
class Library:
    """The compiled library."""

    file: Path

    def variables(self, struck: Struck, root: Path, counted: Path) -> dict[str, str]:
        """Environment of the commands in which calls below a folder are struck, and counted in a file."""
        return {
            "FAULTY_DISK_PATH": f"^{re.escape(str(root))}{struck.path}",
            "FAULTY_DISK_CALL": struck.call,
            "FAULTY_DISK_NTH": str(struck.nth),
            "FAULTY_DISK_TIMES": str(struck.times),
            "FAULTY_DISK_ACTION": struck.action,
            "FAULTY_DISK_COUNT": str(counted),
        }


def compiled(folder: Path) -> Library | None:
    """The library, made in a folder; None where there is no C compiler."""
    if (compiler := which("cc")) is None:
        return None
    library = Library(folder / "faulty_disk.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library.file, _SOURCE, "-ldl"], check=True)
    return library
