"""Compares every file with the hash that its receipt holds, or that it carries, whatever settings it was made with."""

import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.engine.ledger import is_record, ledgers
from pipeline.engine.sources import Sources
from pipeline.files.storage import Storage, sha256_file, version_of
from pipeline.machine.device import cores
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.readable import hashes_apart
from schemas.receipts import FileReceipt

_SHARD_FILE = re.compile(r"(?:images-)?shard-\d+\.(?!json$)[^.]+")  # a receipt is no file of a shard

_MAY_BE_EMPTY = re.compile(r".*(\.log|\.jsonl|/events\.[^/]*)")  # curves, where a kill came before the first point


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        files: files compared.
        size_bytes: of them, as their receipts say.
        problems: one text for each file that is gone or has other bytes, and for each receipt that is not in order.
        uncommitted: paths below the data set's folder of files of shards that no receipt names: whatever stopped their
            run, they count for nothing, and the next one makes them anew.
        unhashed: paths below the data set's folder of files of which nobody can tell whether they are as they were
            written: logs, events, and what others put there.
        outside: one text for each file from outside, such as a CSV or weights, that is not the one that a stage read.
            What changed under the same size, times and inode is among the problems: nothing else would tell.
    """

    files: int
    size_bytes: int
    problems: tuple[str, ...]
    uncommitted: tuple[str, ...] = ()
    unhashed: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


def verify(storage: Storage) -> Verification:
    """Read and hash every file of a data set's folder, and those from outside that its stages read.

    What was dropped on purpose is left out.

    Raises:
        PipelineError: there is no receipt at all.
    """
    audits = [ledger.audit() for ledger in ledgers(storage)]
    if not audits:
        raise PipelineError(
            f"verify: no receipt in {storage.root}",
            expected="one at least",
            run=Command("run", dataset=storage.name),
        )
    named = [file for audit in audits for file in audit.files]
    files = [file for file in named if not file.pruned]
    with ThreadPoolExecutor(cores()) as threads:
        problems = [text for text in threads.map(partial(_problem, storage), files) if text is not None]
    problems += [text for audit in audits for text in audit.problems]
    names = _other_names(storage, {file.path for file in named})
    uncommitted = tuple(path for path, name in names.items() if _SHARD_FILE.fullmatch(name))
    own = {path: _own_problem(storage, path) for path in names if path not in set(uncommitted)}
    problems += [f"{storage.shown(path)}: {problem}" for path, problem in own.items() if problem]
    unhashed = tuple(path for path, problem in own.items() if problem is None)
    silent, outside = _outside(storage)
    size_bytes = sum(file.size_bytes for file in files)
    return Verification(len(files), size_bytes, tuple(problems + silent), uncommitted, unhashed, tuple(outside))


def _outside(storage: Storage) -> tuple[list[str], list[str]]:
    """Files from outside that changed without a trace, and those that are gone or other versions by now."""
    silent, others = [], []
    for path, known in Sources(storage).remembered().items():
        try:
            version, found = version_of(Path(path)), sha256_file(Path(path))
        except OSError as error:
            others.append(f"{path}: cannot be compared with what was read ({error.strerror})")
            continue
        if found == known.get("sha256"):
            continue
        if {key: known.get(key) for key in version} == version:
            got, before = hashes_apart(found, str(known.get("sha256")))
            silent.append(f"{path}: sha256 {got}, {before} when it was read, under the same size, times and inode")
        else:
            others.append(f"{path}: another version than the one that was read; plan tells what that means")
    return silent, others


def _other_names(storage: Storage, named: Collection[str]) -> dict[str, str]:
    """Names of the files that no receipt names and that are none, by path."""
    names = {path: path.rpartition("/")[2] for path in storage.files() if path not in named}
    return {path: name for path, name in names.items() if not is_record(name)}


def _own_problem(storage: Storage, path: str) -> str | None:
    """What is wrong with a file by the hash that it carries; empty where nothing is, None where it carries none."""
    try:
        whole = storage.is_whole(path)
        if whole is None and not storage.size_bytes(path) and not _MAY_BE_EMPTY.fullmatch(path):
            return "all its bytes are lost"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except PipelineError as error:  # a disk that fails
        return error.what
    return {True: "", False: "its bytes are not those of the hash in it", None: None}[whole]


def _problem(storage: Storage, file: FileReceipt) -> str | None:
    path = storage.shown(file.path)
    try:
        found = storage.sha256(file.path)
    except FileNotFoundError:
        return f"{path}: gone"
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"
    except PipelineError as error:  # a disk that fails
        return f"{path}: {error.what}"
    return None if found == file.sha256 else f"{path}: sha256 {found}, its receipt says {file.sha256}"
