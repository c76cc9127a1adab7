"""Receipts and the stage record of one stage, on disk.

A receipt is one small JSON file beside its shard. When a stage is complete its receipts are gathered in one Parquet
file, the stage record, so that a later look costs one read whatever the number of shards. Both carry the hash of their
own bytes: one that was changed counts for nothing.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

import pyarrow as pa

from pipeline.engine.task import RECORD, Output, Task
from pipeline.files import own_hash
from pipeline.files.inputs import OutputFile, StageFiles, shard_name
from pipeline.files.storage import Storage
from pipeline.files.tables import hashed_table, write_hashed_table
from schemas.receipts import FileReceipt, Receipt

_RECIPE_KEY = "biam_pipe.recipe"
_PAGES_KEY = "biam_pipe.pages"  # what is to be said of the pages about all receipts, where the stage has some
_PAGE_KEY = "biam_pipe.page"  # the same of one page, in older records
_HASH_KEY = "hash"  # of a receipt's own bytes; no field of the receipt
_RECORD = pa.schema(
    [
        pa.field("shard", pa.int32()),
        pa.field("fingerprint", pa.string()),
        pa.field("content", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("size_bytes", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("receipt", pa.string()),  # the whole receipt, JSON
    ]
)
_RECORD_FILE = re.compile(rf"((?:.+\.)?{RECORD})\.(?:json|parquet)")  # also of a receipt without shard
_SHARD_RECEIPT = re.compile(r"shard-\d+\.json")
_LIBRARIES = ("biam-pipe", "torch", "torchvision", "pillow", "pyarrow", "numpy", "h5py", "gensim")


@dataclass(frozen=True)
class Record:
    """The stage record of a complete stage.

    Attributes:
        recipe: document of what shaped the output.
        pages: about all that the stage left.
    """

    recipe: dict[str, Any]
    receipts: tuple[Receipt, ...]
    pages: tuple[FileReceipt, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What the receipts and the stage record of a stage say, and how far they can be believed.

    Attributes:
        files: every file that one of them names.
        problems: a text for each of them that is not as it was written.
    """

    files: tuple[FileReceipt, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Ledger:
    """Where one stage keeps its receipts.

    Attributes:
        folder: of the stage, below the storage's root.
        record: stem of the stage record and of the receipt of a task without shard.
    """

    storage: Storage
    stage: str
    folder: str
    record: str

    @property
    def record_path(self) -> str:
        """Path of the stage record."""
        return f"{self.folder}/{self.record}.parquet"

    def receipt_path(self, shard: int | None) -> str:
        """Path of a receipt."""
        return f"{self.folder}/{self.stem(shard)}.json"

    def stem(self, shard: int | None) -> str:
        """How the name of a receipt begins."""
        return self.record if shard is None else shard_name(shard)

    def write(self, receipt: Receipt) -> None:
        """Commit one receipt."""
        path = self.receipt_path(receipt.shard)
        self.storage.write(path, written(receipt, path))

    def read(self, shard: int | None) -> Receipt | None:
        """The receipt beside the shard; None where there is none, or one that is not as it was written."""
        return self._parsed(self.receipt_path(shard))

    def forget(self, shard: int | None) -> None:
        """Withdraw a receipt before its files are written again: old receipt and new bytes never stand together."""
        self.storage.remove(self.receipt_path(shard))

    def forget_record(self) -> None:
        """Withdraw the record; the receipts beside the shards count again."""
        self.storage.remove(self.record_path)

    def write_record(self, recipe: Mapping[str, Any], receipts: Iterable[Receipt], pages: Iterable[str] = ()) -> None:
        """Gather all receipts of a complete stage in its record, with the hashes of pages about them.

        Args:
            pages: their paths.
        """
        rows = [
            {
                "shard": receipt.shard,
                "fingerprint": receipt.fingerprint,
                "content": receipt.content,
                "rows": receipt.rows,
                "size_bytes": receipt.size_bytes,
                "seconds": receipt.seconds,
                "receipt": receipt.model_dump_json(),
            }
            for receipt in receipts
        ]
        metadata = {_RECIPE_KEY: json.dumps(dict(recipe), sort_keys=True)}
        told = [file_receipt(self.storage, page).model_dump(mode="json") for page in pages]
        metadata |= {_PAGES_KEY: json.dumps(told)} if told else {}
        table = pa.Table.from_pylist(rows, schema=_RECORD.with_metadata(metadata))
        write_hashed_table(self.storage, self.record_path, table)

    def read_record(self) -> Record | None:
        """The record; None where there is none as it was written."""
        try:
            return _record(self.storage.read(self.record_path), self.record_path)
        except OSError:
            return None

    def read_receipts(self) -> list[Receipt]:
        """All receipts that stand beside shards and read; for a stage without a record."""
        receipts = [self._parsed(path) for path in self._receipt_paths()]
        return [receipt for receipt in receipts if receipt is not None and receipt.stage == self.stage]

    def audit(self) -> Audit:
        """Look at every receipt, beside the shards or in the record alone.

        Record and receipts say the same twice: a run takes the word of a record that stands, here they are compared.
        """
        beside = {path: self._parsed(path) for path in self._receipt_paths()}
        problems = [
            f"{self.storage.shown(path)}: is no receipt as it was written"
            for path, receipt in beside.items()
            if receipt is None
        ]
        record = self.read_record()
        if record is None and self.storage.exists(self.record_path):
            problems.append(f"{self.storage.shown(self.record_path)}: is no stage record as it was written")
        recorded = {self.receipt_path(receipt.shard): receipt for receipt in (record.receipts if record else ())}
        for path, receipt in recorded.items():
            if path not in beside:
                problems.append(f"{self.storage.shown(path)}: gone, though the stage record holds it")
            elif beside[path] not in (None, receipt):
                problems.append(f"{self.storage.shown(path)}: says something else than the stage record")
        found = (beside.get(path) or recorded.get(path) for path in recorded | beside)
        files = [file for receipt in found if receipt is not None for file in receipt.files]
        files += record.pages if record is not None else ()
        return Audit(tuple(files), tuple(problems))

    def paths(self) -> Iterator[str]:
        """Record, receipts and the files that they name and that are there; what proves a file stands before it."""
        files = [file.path for file in self.audit().files]
        yield from (path for path in (self.record_path, *self._receipt_paths()) if self.storage.exists(path))
        yield from dict.fromkeys(path for path in files if self.storage.exists(path))

    def _parsed(self, path: str) -> Receipt | None:
        try:
            data = self.storage.read(path)
            return None if own_hash.is_whole(data, path) is False else Receipt.model_validate_json(data)
        except (FileNotFoundError, ValueError):
            return None

    def _receipt_paths(self) -> list[str]:
        return [f"{self.folder}/{name}" for name in sorted(self.storage.sizes(self.folder)) if self._is_receipt(name)]

    def _is_receipt(self, name: str) -> bool:
        return name == f"{self.record}.json" or (self.record == RECORD and bool(_SHARD_RECEIPT.fullmatch(name)))


@lru_cache(maxsize=64)  # graphs of one comparison share most of their stages
def _record(data: bytes, path: str) -> Record | None:
    """The record in some bytes; None where they are not as they were written."""
    if (table := hashed_table(data, path)) is None:
        return None
    try:
        recipe = json.loads(table.schema.metadata[_RECIPE_KEY.encode()])
        pages = json.loads(table.schema.metadata.get(_PAGES_KEY.encode(), b"[]"))
        older = table.schema.metadata.get(_PAGE_KEY.encode())
        return Record(
            recipe,
            tuple(Receipt.model_validate_json(text) for text in table["receipt"].to_pylist()),
            tuple(map(FileReceipt.model_validate, pages if older is None else [json.loads(older)])),
        )
    except (KeyError, TypeError, ValueError):
        return None


def files_left(ledger: Ledger, outputs: Mapping[str, OutputFile]) -> StageFiles:
    """What a stage left, whatever its settings: for whoever looks without a graph.

    Args:
        outputs: the files that it leaves, by name.
    """
    record = ledger.read_record()
    receipts = ledger.read_receipts() if record is None else record.receipts
    within = {name: file.within(ledger.folder) for name, file in outputs.items()}
    return StageFiles(ledger.folder, within, tuple(receipts))


def ledgers(storage: Storage) -> Iterator[Ledger]:
    """Every place that holds receipts or a stage record, of whatever settings."""
    for folder, names in storage.folders():
        records = {match[1] for name in names if (match := _RECORD_FILE.fullmatch(name))}
        if any(_SHARD_RECEIPT.fullmatch(name) for name in names):
            records.add(RECORD)
        yield from (Ledger(storage, "", folder, record) for record in sorted(records))  # of whichever stage


def clear(storage: Storage, folder: str) -> None:
    """Remove what stages left in a folder, receipts first: no old figure stands beside what takes its place."""
    for ledger in ledgers(storage):
        if ledger.folder == folder:
            for path in list(ledger.paths()):
                storage.remove(path)


def written(receipt: Receipt, path: str) -> bytes:
    """A receipt as it stands in its file at a path: JSON that carries the hash of its own bytes there."""
    text = json.dumps({**receipt.model_dump(mode="json"), _HASH_KEY: own_hash.BLANK}, indent=1, ensure_ascii=False)
    return own_hash.filled(text.encode(), path)


def is_record(name: str) -> bool:
    """Whether a file of that name is a receipt or a stage record."""
    return bool(_RECORD_FILE.fullmatch(name) or _SHARD_RECEIPT.fullmatch(name))


def withdraw(task: Task, shard: int) -> None:
    """Withdraw the receipt of one shard, for a stage that writes over some of its many shards in one task."""
    Ledger(task.storage, task.stage, task.folder, RECORD).forget(shard)


def file_receipt(storage: Storage, path: str) -> FileReceipt:
    """What is to be said of a committed file; reads it once more, to hash what lies on disk."""
    return FileReceipt(path=path, size_bytes=storage.size_bytes(path), sha256=storage.sha256(path))


def seal(task: Task, output: Output, started_at: float, seconds: float) -> Receipt:
    """The receipt of what a task has committed."""
    shard = task.shard if output.shard is None else output.shard
    files = tuple(file_receipt(task.storage, task.outputs[name].at(shard)) for name in output.files)
    return Receipt(
        stage=task.stage,
        shard=shard,
        fingerprint=task.fingerprint,
        content=output.content or "+".join(file.sha256 for file in files),
        parts=dict(output.parts),
        files=files,
        rows=output.rows,
        counts=dict(output.counts),
        facts=dict(output.facts),
        started_at=round(started_at, 3),
        seconds=round(seconds, 3),
        versions=library_versions(),
        lease=task.storage.lease_id(),
    )


@cache
def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change numbers, read without importing them."""
    found = {"python": python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree
            continue
    return found
