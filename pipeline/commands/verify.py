"""Compares every file that a receipt names with the hash the receipt holds, whatever settings it was made with."""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pipeline.engine.ledger import ledgers
from pipeline.files.storage import Storage
from pipeline.machine.device import cores
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.receipts import FileReceipt, Receipt

_SHARD_FILE = re.compile(r"shard-\d+\.(?!json$)[^.]+")  # a receipt is no file of a shard


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        files: files compared.
        size_bytes: of them, as their receipts say.
        problems: one text for each file that is gone or has other bytes, for each receipt that is not in order, and for
            each file of a shard that no receipt names.
    """

    files: int
    size_bytes: int
    problems: tuple[str, ...]


def verify(storage: Storage) -> Verification:
    """Read and hash every file of a data set's folder that has a receipt; what was dropped on purpose is left out.

    Raises:
        PipelineError: there is no receipt at all.
    """
    audits = [ledger.audit() for ledger in ledgers(storage)]
    if not audits:
        raise PipelineError(
            f"verify: no receipt in {storage.root}",
            expected="one at least",
            run=Command("run", dataset=storage.local("").name),
        )
    receipts = [receipt for found, _ in audits for receipt in found]
    files = [file for receipt in receipts for file in receipt.files if not file.pruned]
    with ThreadPoolExecutor(cores()) as threads:
        problems = [text for text in threads.map(partial(_problem, storage), files) if text is not None]
    problems += [text for _, texts in audits for text in texts]
    problems += _unnamed(storage, receipts)
    return Verification(len(files), sum(file.size_bytes for file in files), tuple(problems))


def _unnamed(storage: Storage, receipts: Iterable[Receipt]) -> Iterator[str]:
    """A text for each file of a shard that counts for nothing: its receipt is gone, or a run did not come to it."""
    named = {file.path for receipt in receipts for file in receipt.files}
    for folder, names in storage.folders():
        paths = (f"{folder}/{name}" for name in names if _SHARD_FILE.fullmatch(name))
        yield from (f"{storage.local(path)}: no receipt names it" for path in paths if path not in named)


def _problem(storage: Storage, file: FileReceipt) -> str | None:
    path = storage.local(file.path)
    try:
        found = storage.sha256(file.path)
    except FileNotFoundError:
        return f"{path}: gone"
    except OSError as error:  # a disk that fails
        return f"{path}: cannot be read ({error.strerror})"
    return None if found == file.sha256 else f"{path}: sha256 {found}, its receipt says {file.sha256}"
