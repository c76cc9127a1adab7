"""The folders that a run writes in: room, rights, whole commits, and whether another run holds the work folder."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.commands.checks.finding import Finding, Verdict, fault
from pipeline.files.lock import writer, writing
from pipeline.files.refusals import TEMPORARY_SUFFIX, refusals_named
from pipeline.files.scratch import scratch_parent
from pipeline.files.storage import Storage
from pipeline.net.fetch import CACHE_VARIABLE, cache_folder
from schemas.errors import PipelineError
from schemas.readable import size_text

_LITTLE_BYTES, _FEW_INODES = 2 * 10**9, 10_000  # two shards of 1,024 images and their features take 1 GB
_PROBE_BYTES = 4096


def work_folder(storage: Storage) -> Iterator[Finding]:
    """The work folder, made or not.

    Raises:
        PipelineError: nothing can be written there.
    """
    yield _folder("work folder", Path(storage.shown()), "Use another --work, or free space")
    found = writer(storage)
    if found is not None and found.alive is not False:
        told = f"process {found.pid} on {found.host} writes in the work folder since {found.since}"
        yield Finding("writer", Verdict.WARNING, told, "Wait for it, stop it, or use another --work")


def temporary_folder() -> Iterator[Finding]:
    """The folder for temporary files.

    Raises:
        PipelineError: there is none, or nothing can be written there.
    """
    yield _folder("TMPDIR", scratch_parent(), "Set TMPDIR to a folder of a larger disk")


def fetched_folder() -> Iterator[Finding]:
    """The folder of what is fetched for all work folders. A run that fetches nothing can do without.

    Raises:
        PipelineError: nothing can be written there.
    """
    try:
        folder = cache_folder()
    except PipelineError as error:
        yield replace(fault("cache", error), outcome=Verdict.WARNING)
        return
    yield _folder("cache", folder, f"Set {CACHE_VARIABLE} to a folder of a larger disk")


def free_bytes(folder: Path) -> int:
    """What is left for this user on the disk of a folder, made or not."""
    seen = os.statvfs(_standing(folder))
    return seen.f_bavail * seen.f_frsize


def _folder(name: str, folder: Path, remedy: str) -> Finding:
    parent = _standing(folder)
    with refusals_named(folder, "write in"):
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        probe = Path(tempfile.mkdtemp(TEMPORARY_SUFFIX, ".biam-pipe-check-", parent))
        try:
            storage = Storage(str(probe))
            with writing(storage):  # by flock, which not all network file systems have
                storage.write("probe", bytes(_PROBE_BYTES))  # fsync and rename, of file and folder
        finally:
            shutil.rmtree(probe, ignore_errors=True)
        seen, room_bytes = os.statvfs(parent), free_bytes(folder)
    told = f"{size_text(room_bytes)} free in {folder}"
    if room_bytes < _LITTLE_BYTES:
        return Finding(name, Verdict.WARNING, told, remedy)
    if seen.f_files and seen.f_favail < _FEW_INODES:  # some file systems count none
        return Finding(name, Verdict.WARNING, f"{told}, but room for {seen.f_favail} files only", remedy)
    return Finding(name, Verdict.OK, told)


def _standing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there; or a file in the place of one."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
