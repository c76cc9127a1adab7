"""Files below one folder: atomic commits, plain reads. The one place that knows how bytes become durable.

A second implementation (an object store) offers the same methods; nothing else touches the disk of a work folder.
"""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.command import AGAIN
from schemas.errors import PipelineError, UsageError

TEMPORARY_SUFFIX = ".tmp"
_READ_BYTES = 1 << 20
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit on the size of a file is reached",
}


@dataclass(frozen=True)
class Storage:
    """A local folder; every path given is relative to it, with forward slashes."""

    root: str

    def local(self, path: str) -> Path:
        """Where the file lies on this machine, for libraries that want a real path."""
        return Path(self.root, path)

    @contextmanager
    def commit(self, path: str) -> Iterator[Path]:
        """A temporary path to write to; on a clean exit its bytes stand under `path`, durable and whole.

        An exception inside leaves nothing behind. A kill leaves a `.tmp` file that `sweep` removes.

        Raises:
            PipelineError: the disk is full.
        """
        target = self.local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        try:
            temporary.touch()
            mode = temporary.stat().st_mode  # as the umask has it: safetensors would make it 0600
            yield temporary
            temporary.chmod(mode)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.rename(target)
            _sync_folder(target.parent)
        except OSError as error:
            if error.errno in _FULL:
                raise PipelineError(
                    f"{_FULL[error.errno]}: cannot write {target}",
                    hint="Free space, run the same command:",
                    run=AGAIN,
                ) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def write(self, path: str, data: bytes) -> None:
        """Commit these bytes."""
        with self.commit(path) as temporary:
            temporary.write_bytes(data)

    def read(self, path: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.local(path).read_bytes()

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        return self.local(path).exists()

    def sizes(self, folder: str) -> dict[str, int]:
        """Size in bytes of every committed file directly in a folder, by name; empty where the folder is not there."""
        try:
            with os.scandir(self.local(folder)) as entries:
                return {
                    entry.name: entry.stat().st_size
                    for entry in entries
                    if entry.is_file() and not entry.name.endswith(TEMPORARY_SUFFIX)
                }
        except FileNotFoundError:
            return {}

    def folders(self) -> Iterator[tuple[str, list[str]]]:
        """Every folder below, with the names of the files directly in it, in order."""
        for folder, inside, names in os.walk(self.root):
            inside.sort()
            if folder != self.root:
                yield Path(folder).relative_to(self.root).as_posix(), sorted(names)

    def newest(self, pattern: str) -> str | None:
        """Path of the file last committed among those that match a glob pattern, or None."""
        found = [path for path in Path(self.root).glob(pattern) if path.suffix != TEMPORARY_SUFFIX]
        if not found:
            return None
        return max(found, key=lambda path: path.stat().st_mtime_ns).relative_to(self.root).as_posix()

    def sha256(self, path: str) -> str:
        """Hash of a file's bytes, 64 hex digits."""
        return sha256_file(self.local(path))

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        self.local(path).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed writers left. Only for the holder of the lock."""
        for left in Path(self.root).rglob(f".*{TEMPORARY_SUFFIX}"):
            left.unlink(missing_ok=True)


def users_folder(folder: Path, command: str) -> Storage:
    """The folder that a command's --out names, made if need be; better told now than after the work.

    Raises:
        UsageError: it is a file.
        PipelineError: nothing can be written there.
    """
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
