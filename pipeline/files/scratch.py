"""Folders for what a process needs for a while, in the system's folder for temporary files (`TMPDIR`).

Libraries put theirs into one of them, too, so that a run leaves nothing outside of the work folder. Whoever uses one
holds a lock on it (`flock`), which ends with the process, however that dies: a later run sees that a folder is nobody's
any more and removes it.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.files.refusals import refusals_named
from pipeline.machine.environment import environment
from schemas.errors import PipelineError

_PREFIX = "biam-pipe-scratch-"
_KEPT_PREFIX = "biam-pipe-kept-"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")  # as tempfile ends a name
# Folders that libraries make as soon as they are imported: torch's compiler in TMPDIR, matplotlib in the home folder.
_OF_LIBRARIES = ("TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR")


@contextmanager
def own_temporaries() -> Iterator[None]:
    """In this block, what this process and those that it starts put aside lies in one folder, which is gone afterwards.

    That of libraries, too, but for those whose folder the user has chosen. What killed processes left goes before. A
    block inside of another has the same folder.

    Raises:
        PipelineError: as `scratch_folder`.
    """
    if tempfile.tempdir is not None and _NAME.fullmatch(Path(tempfile.tempdir).name):
        yield
        return
    sweep_scratch()
    with scratch_folder() as folder:
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            with environment({"TMPDIR": str(folder), **_of_libraries(folder)}):
                yield
        finally:
            tempfile.tempdir = before


@contextmanager
def importing_aside() -> Iterator[None]:
    """In this block, what libraries put aside when they are imported lies in a folder that is gone afterwards.

    Raises:
        PipelineError: as `scratch_folder`.
    """
    with scratch_folder() as folder, environment(_of_libraries(folder)):
        yield


def _of_libraries(folder: Path) -> dict[str, str]:
    """Variables of libraries: their folders in this one, where the user has chosen none."""
    return {name: os.environ.get(name, str(folder / name.lower())) for name in _OF_LIBRARIES}


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder that is gone after this block; a kill leaves it to `sweep_scratch`.

    Raises:
        PipelineError: there is no folder for temporary files, or nothing can be written there.
    """
    with refusals_named(parent := scratch_parent()):
        folder, lock = _held(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep_scratch() -> None:
    """Remove the folders of this user that killed processes left."""
    with refusals_named(parent := scratch_parent(), "read"):
        found = [entry.path for entry in os.scandir(parent) if _NAME.fullmatch(entry.name)]
    for path in found:
        with suppress(OSError):  # in use, gone meanwhile, or another's: it stays
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def kept_aside(folder: Path) -> Path:
    """Where something below a scratch folder lies from now on: under a name that no sweep takes, for a person to see.

    Raises:
        PipelineError: the system refuses it.
    """
    target = Path(tempfile.mkdtemp(prefix=_KEPT_PREFIX, dir=scratch_parent()))
    with refusals_named(target):
        return folder.rename(target / folder.name)


def scratch_parent() -> Path:
    """The folder for temporary files.

    Raises:
        PipelineError: there is none.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise PipelineError(
            "there is no folder for temporary files that can be written", hint="Set TMPDIR to one"
        ) from error


def _held(parent: Path) -> tuple[Path, int]:
    """A new folder and the lock on it. Another's sweep may find it before it is locked: then the next one is tried."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)
