"""Files below one folder: atomic commits, plain reads. The one place that knows how bytes become durable.

Outside of `files/` nobody asks for a path below a work folder, but for `scratch` and what `commit` lends, so that an
object store can offer the same methods one day.
"""

import errno
import hashlib
import mmap
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from pipeline.files import own_hash
from pipeline.files.lease import Guard
from pipeline.files.refusals import ABSENCE, TEMPORARY_SUFFIX, refusals_named
from schemas.errors import PipelineError, UsageError
from schemas.receipts import FileReceipt

_READ_BYTES = 1 << 20
# Ours, and those of safetensors, which writes beside the file that it was given and renames.
_TEMPORARY = re.compile(rf"\..*{re.escape(TEMPORARY_SUFFIX)}|\.tmp[A-Za-z0-9]{{6}}")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True)
class FileSystem:
    """A file system of this machine.

    Attributes:
        device: number by which the system tells it from others.
        free_bytes: that this user may fill; None where it does not say, as some that are mounted from elsewhere.
    """

    device: int
    free_bytes: int | None


@dataclass(frozen=True)
class Storage:
    """A local folder; every path given is relative to it, with forward slashes.

    Attributes:
        guards: what has to stand there whenever something is changed; none for whoever holds it by other means.
    """

    root: str
    guards: tuple[Guard, ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder: the data set's, for a work folder."""
        return Path(self.root).name

    def local(self, path: str) -> Path:
        """Where the file lies on this machine; for `files/` alone."""
        return Path(self.root, path)

    def shown(self, path: str = "") -> str:
        """Where a file lies, for people to read."""
        return str(Path(self.root, path))

    def scratch(self, folder: str) -> Path:
        """A folder of this machine for files that are never committed: logs, and what is put aside for a while.

        Names that begin with a dot and end in `.tmp` are swept by the next run.
        """
        self._require_guards()
        path = self.local(folder)
        with refusals_named(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def commit(self, path: str) -> Iterator[Path]:
        """A temporary path to write to; on a clean exit its bytes stand under `path`, durable and whole.

        An exception inside leaves nothing behind. A kill leaves a `.tmp` file that `sweep` removes.

        Raises:
            PipelineError: the system refuses to write there.
            HeldFolderError: the guards say that nobody may.
        """
        self._require_guards()
        target = self.local(path)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        with refusals_named(target):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.touch()
                mode = temporary.stat().st_mode  # as the umask has it: safetensors would make it 0600
                yield temporary
                temporary.chmod(mode)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                self._require_guards()
                temporary.rename(target)
                _sync_folder(target.parent)
            finally:
                with suppress(OSError):  # what ended the writing is to be told; the next run sweeps
                    temporary.unlink(missing_ok=True)

    @contextmanager
    def attempt(self, folder: str, name: str) -> Iterator["Storage"]:
        """The same folder for one attempt at a piece of work: from here on no earlier attempt at it changes anything.

        Args:
            folder: where its files will lie.
            name: of the piece, in that folder.
        """
        self._require_guards()
        guard = Guard(f"{folder}/.{name}.attempt{TEMPORARY_SUFFIX}", uuid.uuid4().hex, "attempt")
        path = self.local(guard.path)
        with refusals_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(guard.text)  # needs to outlive no crash: whoever could be mistaken dies with the machine
        try:
            yield replace(self, guards=(*self.guards, guard))
        finally:
            with suppress(OSError, PipelineError):  # it is another's by now, or is left to the next run's sweep
                guard.require(self.root)
                path.unlink()

    def lease(self) -> Path | None:
        """The file in which stands who may change this folder, as far as that is guarded."""
        return self.local(self.guards[0].path) if self.guards else None

    def lease_id(self) -> str | None:
        """Id of the run that may change this folder, as far as that is guarded."""
        return self.guards[0].text if self.guards else None

    def write(self, path: str, data: bytes) -> None:
        """Commit these bytes."""
        with self.commit(path) as temporary:
            temporary.write_bytes(data)

    def read(self, path: str) -> bytes:
        """All bytes of a file.

        Raises:
            OSError: there is none.
            PipelineError: the system refuses to read it.
        """
        with _reading(self.local(path)) as file:
            return file.read_bytes()

    def read_end(self, path: str, size_bytes: int) -> bytes:
        """The last bytes of a file, all of one that is shorter.

        Raises:
            OSError: there is none.
            PipelineError: the system refuses to read it.
        """
        with _reading(self.local(path)) as local, local.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size_bytes))
            return file.read(size_bytes)

    def size_bytes(self, path: str) -> int:
        """Size of a file.

        Raises:
            OSError: there is none.
            PipelineError: the system refuses to look at it.
        """
        with _reading(self.local(path)) as file:
            return file.stat().st_size

    def holds(self, file: FileReceipt) -> bool:
        """Whether a file is there with the size that its receipt says, or was dropped; its bytes are not read.

        Raises:
            PipelineError: the system refuses to look at it.
        """
        if file.pruned:
            return True
        try:
            return self.size_bytes(file.path) == file.size_bytes
        except FileNotFoundError:
            self.sizes(file.path.rpartition("/")[0])  # to list a folder brings what a network disk remembers up to date
            return False

    def file_system(self, path: str) -> FileSystem:
        """Where a file lies, or would lie.

        Raises:
            PipelineError: the system refuses to look at it.
        """
        place = self.local(path)
        with refusals_named(place, "look at"):
            while not place.exists():
                place = place.parent
            usage = shutil.disk_usage(place)
            return FileSystem(place.stat().st_dev, usage.free if usage.total else None)

    def stands(self) -> bool:
        """Whether there is such a folder."""
        return Path(self.root).is_dir()

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        with _reading(self.local(path)) as file:
            return file.exists()

    def sizes(self, folder: str) -> dict[str, int]:
        """Size in bytes of every committed file directly in a folder, by name; empty where the folder is not there."""
        try:
            with _reading(self.local(folder)) as inside, os.scandir(inside) as entries:
                return {
                    entry.name: entry.stat().st_size
                    for entry in entries
                    if entry.is_file() and not _TEMPORARY.fullmatch(entry.name)
                }
        except FileNotFoundError:
            return {}

    def folders(self) -> Iterator[tuple[str, list[str]]]:
        """Every folder below, with the names of the files directly in it, in order."""
        for folder, inside, names in self._walk():
            inside.sort()
            if folder != self.root:
                yield Path(folder).relative_to(self.root).as_posix(), sorted(names)

    def files(self) -> Iterator[str]:
        """Every file below but hidden ones, in order."""
        for folder, inside, names in self._walk():
            inside.sort()
            paths = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
            yield from (path.relative_to(self.root).as_posix() for path in paths)

    def is_whole(self, path: str) -> bool | None:
        """Whether a file has the bytes of the hash that it carries; None where it carries none."""
        with _reading(self.local(path)) as local, local.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return own_hash.is_whole(data, path)

    def newest(self, pattern: str) -> str | None:
        """Path of the file last committed among those that match a glob pattern, or None."""
        return next(iter(self.by_age(pattern)), None)

    def by_age(self, pattern: str) -> list[str]:
        """Paths of the files that match a glob pattern, the one last committed first."""
        found = [path for path in Path(self.root).glob(pattern) if path.suffix != TEMPORARY_SUFFIX]
        ordered = sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return [path.relative_to(self.root).as_posix() for path in ordered]

    def written_at(self, path: str) -> float:
        """When a file, or something directly in a folder, was last written, in seconds of `time.time()`.

        Raises:
            OSError: there is none.
            PipelineError: the system refuses to look at it.
        """
        with _reading(self.local(path)) as file:
            return file.stat().st_mtime

    def sha256(self, path: str) -> str:
        """Hash of a file's bytes, 64 hex digits.

        Raises:
            OSError: there is no such file.
            PipelineError: the system refuses to read it.
        """
        with _reading(self.local(path)) as file:
            return sha256_file(file)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there.

        Raises:
            PipelineError: the system refuses to.
            HeldFolderError: the guards say that nobody may.
        """
        self._require_guards()
        with refusals_named(self.local(path), "remove"):
            self.local(path).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it, if it is there. Only for the holder of the lock.

        Raises:
            HeldFolderError: the guards say that nobody may.
        """
        self._require_guards()
        with refusals_named(self.local(folder), "remove"), suppress(FileNotFoundError):
            shutil.rmtree(self.local(folder))

    def sweep(self) -> None:
        """Remove what killed writers left. Only for the holder of the lock.

        Raises:
            HeldFolderError: the guards say that nobody may.
        """
        self._require_guards()
        for folder, _, names in self._walk():
            for left in (Path(folder, name) for name in names if _TEMPORARY.fullmatch(name)):
                with refusals_named(left, "remove"):
                    left.unlink(missing_ok=True)

    def _require_guards(self) -> None:
        for guard in self.guards:
            guard.require(self.root)

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """As `os.walk` does, but a folder that cannot be read is an error and not empty."""

        def refuse(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):  # gone meanwhile
                raise error

        with refusals_named(self.root, "read"):
            yield from os.walk(self.root, onerror=refuse)


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Look at a file; that there is none is for whoever asks to judge.

    Raises:
        OSError: there is no such file, or a folder.
        PipelineError: the system refuses to read it.
    """
    absent: OSError | None = None
    with refusals_named(path, "read"):
        try:
            yield path
        except ABSENCE as error:
            absent = error
    if absent is not None:
        raise absent


def require_local(folder: Path, option: str) -> None:
    """See that an option does not name a bucket or a server: as a path that would be a folder of an odd name here.

    Raises:
        UsageError: it does.
    """
    if _ADDRESS.match(str(folder)):
        raise UsageError(
            f"{option} wants a folder of this machine",
            got=str(folder).replace(":/", "://", 1),  # a path keeps one slash of two
            hint="Mount it, or copy what is made there afterwards",
        )


def users_folder(folder: Path, command: str) -> Storage:
    """The folder that a command's --out names, made if need be; better told now than after the work.

    Raises:
        UsageError: it is a file, or an address.
        PipelineError: nothing can be written there.
    """
    require_local(folder, "--out")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{command}: --out wants a folder, and {folder} is a file", hint="Use another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise PipelineError(
            f"{command}: cannot write in {folder} ({error.strerror})",
            expected="a folder",
            hint="Use another --out",
        ) from error
    return Storage(str(folder))


def version_of(path: Path) -> dict[str, int]:
    """What tells one version of a file from outside from another without reading it.

    Times alone do not: a copy takes over the time of its content. Nobody but the system sets the time of the last
    change.

    Raises:
        OSError: there is no such file, or it cannot be looked at.
    """
    seen = path.stat()
    return {
        "size_bytes": seen.st_size,
        "modified_ns": seen.st_mtime_ns,
        "changed_ns": seen.st_ctime_ns,
        "inode": seen.st_ino,
    }


def sha256_once(path: Path) -> str:
    """Hash of a file from outside, read once in a process for each version of it."""
    return _sha256_of_version(path, *version_of(path).values())


@lru_cache(maxsize=64)
def _sha256_of_version(path: Path, *version: int) -> str:
    return sha256_file(path)


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
