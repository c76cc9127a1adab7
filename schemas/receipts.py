"""The receipt: proof that a shard is whole, what it was made from and what is in it."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class FileReceipt(BaseModel):
    """One committed file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str  # below the data set's folder
    size_bytes: int
    sha256: str
    pruned: bool = False  # dropped on purpose: the stage that reads it has done so


class Receipt(BaseModel):
    """Written after the files of a shard, never before. Stands beside the shard as `shard-00000.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # what another version adds is no damage

    stage: str
    shard: int | None  # None: the stage writes one thing, not shards
    fingerprint: str  # recipe + content of the inputs
    content: str  # what stages downstream depend on
    parts: dict[str, str] = {}  # the same for parts of it, for stages that read no more than one part
    files: tuple[FileReceipt, ...]
    rows: int
    counts: dict[str, int]  # rows by status
    facts: dict[str, Any]
    started_at: float  # unix time
    seconds: float
    versions: dict[str, str]

    @property
    def pruned(self) -> bool:
        """Whether files of it were dropped on purpose."""
        return any(file.pruned for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Of the files that are there."""
        return sum(file.size_bytes for file in self.files if not file.pruned)
