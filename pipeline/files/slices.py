"""Several writers in a work folder, each for other shards.

Each holds a folder of its own below `.slices`, by the one lock that there is for folders, and takes a share in the lock
of the whole: whoever wants all of it waits for them, and they for him.
"""

import fcntl
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pipeline.files.lease import LEASE, SLICES
from pipeline.files.lock import Lease, Writer, writer, writing
from pipeline.files.refusals import refusals_named
from pipeline.files.storage import Storage
from schemas.errors import HeldFolderError

_NAME = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class Slice:
    """Some shards that somebody writes.

    Attributes:
        first: of the shards.
        end: the one after the last.
        writer: who writes them, or died over them.
    """

    first: int
    end: int
    writer: Writer

    @property
    def text(self) -> str:
        """As `--shards` has it."""
        return f"{self.first}:{self.end}"


@contextmanager
def writing_shards(storage: Storage, shards: range) -> Iterator[Lease]:
    """Hold some shards of a work folder.

    Returns:
        The lease, whose storage is that of the whole folder.

    Raises:
        HeldFolderError: another process holds some of them, or the whole folder; the text names it.
        PipelineError: nothing can be written there.
    """
    with _share(storage), _holding(storage, shards, shards) as lease:
        # Held first and looked after: of two that begin at the same time one at least sees the other.
        for other in _ranges(storage):
            if other != shards and range(max(other.start, shards.start), min(other.stop, shards.stop)):
                with _holding(storage, other, shards):
                    pass
        own = (replace(guard, path=f"{SLICES}/{_name(shards)}/{guard.path}") for guard in lease.storage.guards)
        yield replace(lease, storage=replace(storage, guards=tuple(own)))


def slices(storage: Storage) -> list[Slice]:
    """Who writes which shards, in order, or died over them. Takes no lock."""
    found = [(shards, writer(_place(storage, shards))) for shards in _ranges(storage)]
    return [Slice(shards.start, shards.stop, holder) for shards, holder in found if holder is not None]


def forget_slices(storage: Storage) -> None:
    """Remove what those who died left. Only for the holder of the whole folder, beside whom there are none."""
    folder = storage.local(SLICES)
    with refusals_named(folder, "remove"):
        if folder.is_dir():
            shutil.rmtree(folder)


@contextmanager
def _share(storage: Storage) -> Iterator[None]:
    """Keep off whoever wants the whole folder."""
    path = storage.local(LEASE)
    with refusals_named(path, "write in"):
        storage.local("").mkdir(parents=True, exist_ok=True)
        opened = path.open("a+b", buffering=0)
    with opened as file:
        try:
            with refusals_named(path, "lock"):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldFolderError(
                f"{storage.root} is being written by {_named(writer(storage))}", hint="Wait for it, or stop it"
            ) from error
        yield


@contextmanager
def _holding(storage: Storage, held: range, wanted: range) -> Iterator[Lease]:
    """Hold the folder of a range.

    Raises:
        HeldFolderError: another process holds it; the text says which shards both want.
    """
    place, inside = _place(storage, held), False
    try:
        with writing(place) as lease:
            inside = True
            yield lease
    except HeldFolderError as error:
        if inside:
            raise
        overlap = "" if held == wanted else f", and {_text(wanted)} overlap them"
        raise HeldFolderError(
            f"shards {_text(held)} of {storage.root} are being written by {_named(writer(place))}{overlap}",
            hint="Wait for it, stop it, or take other shards",
        ) from error


def _ranges(storage: Storage) -> list[range]:
    """The ranges that somebody held since the whole folder was held last, in order."""
    folder = storage.local(SLICES)
    with refusals_named(folder, "read"):
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    found = [range(int(match[1]), int(match[2])) for match in map(_NAME.fullmatch, names) if match]
    return sorted(found, key=lambda shards: (shards.start, shards.stop))


def _place(storage: Storage, shards: range) -> Storage:
    return Storage(storage.shown(f"{SLICES}/{_name(shards)}"))


def _name(shards: range) -> str:
    return f"{shards.start}-{shards.stop}"


def _text(shards: range) -> str:
    return f"{shards.start}:{shards.stop}"


def _named(holder: Writer | None) -> str:
    return f"process {holder.pid} on {holder.host} since {holder.since}" if holder else "another process"
