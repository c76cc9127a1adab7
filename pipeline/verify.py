"""Compares every file that a receipt names with the hash the receipt holds."""

from dataclasses import dataclass

from pipeline.core.graph import Graph
from pipeline.core.storage import Storage
from schemas.receipts import FileReceipt


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        files: files compared.
        size_bytes: bytes read.
        problems: one text for each file that is gone or has other bytes.
    """

    files: int
    size_bytes: int
    problems: tuple[str, ...]


def verify(graph: Graph, storage: Storage) -> Verification:
    """Read and hash every file of every stage; what was dropped on purpose is left out."""
    files = [
        file for node in graph.values() for receipt in node.kept.values() for file in receipt.files if not file.pruned
    ]
    problems = [text for file in files if (text := _problem(file, storage)) is not None]
    damaged = [path for node in graph.values() for path in node.ledger.damaged()]
    problems += [f"{storage.local(path)}: does not read as a receipt or stage record" for path in damaged]
    return Verification(len(files), sum(file.size_bytes for file in files), tuple(problems))


def _problem(file: FileReceipt, storage: Storage) -> str | None:
    path = storage.local(file.path)
    if not storage.exists(file.path):
        return f"{path}: gone"
    found = storage.sha256(file.path)
    return None if found == file.sha256 else f"{path}: sha256 {found}, its receipt says {file.sha256}"
