"""A feature shard in another store: equal bits, and a receipt that says so."""

import time
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.batches.shards import FeatureShards
from pipeline.conversion.shards import row_groups
from pipeline.engine.ledger import Ledger, library_versions
from pipeline.files.storage import Storage
from pipeline.stores import STORES
from pipeline.stores.content import ContentHash
from schemas.config import StoreConfig
from schemas.receipts import FileReceipt, Receipt


@dataclass(frozen=True)
class StoreCopy:
    """Where shards go.

    Attributes:
        features: the shards as they are.
        target: the store that they go to, and its settings.
        ledger: of the target's folder.
    """

    storage: Storage
    features: FeatureShards
    target: StoreConfig
    ledger: Ledger

    def stands(self, receipt: Receipt, copied: Receipt) -> bool:
        """Whether the copy of these files has the bytes that its receipt says.

        Raises:
            IntegrityError: the files themselves have others than theirs says.
        """
        for file in receipt.files:
            self.features.files.checked(file)
        return all(self.storage.sha256(file.path) == file.sha256 for file in copied.files)

    def make(self, receipt: Receipt) -> Receipt:
        """Copy what the receipt names, and write the receipt of the copy: the same but for the files.

        Raises:
            IntegrityError: a file is not what the receipt says.
        """
        self.ledger.forget_record()
        self.ledger.forget(receipt.shard)
        return self._whole(receipt) if receipt.shard is None else self._shard(receipt, receipt.shard)

    def _shard(self, receipt: Receipt, number: int) -> Receipt:
        position = self.features.numbers.index(number)
        file, started_at, started = receipt.files[0], time.time(), time.perf_counter()
        store = STORES.load(self.target.name)
        path = f"{self.ledger.folder}/{PurePosixPath(file.path).stem}{store.SUFFIX}"
        with self.features.open(position) as reader, self.storage.commit(path) as temporary:
            content = ContentHash(reader.spec)
            store.write(temporary, reader.spec, self.target, content.passing(row_groups(reader)))
        if content.hexdigest() != receipt.content:
            told = f"holds other features than its receipt says, expected content {receipt.content[:16]}..."
            raise self.features.files.damaged(file, told)
        return self._sealed(receipt, path, started_at=started_at, seconds=time.perf_counter() - started)

    def _whole(self, receipt: Receipt) -> Receipt:
        paths = []
        for file in receipt.files:
            path = f"{self.ledger.folder}/{PurePosixPath(file.path).name}"
            self.storage.write(path, self.features.files.checked(file).read_bytes())
            paths.append(path)
        return self._sealed(receipt, *paths, started_at=time.time(), seconds=0.0)

    def _sealed(self, receipt: Receipt, *paths: str, started_at: float, seconds: float) -> Receipt:
        files = tuple(
            FileReceipt(path=path, size_bytes=self.storage.local(path).stat().st_size, sha256=self.storage.sha256(path))
            for path in paths
        )
        sealed = receipt.model_copy(
            update={
                "files": files,
                "facts": {**receipt.facts, "converted_from": self.features.store},
                "started_at": round(started_at, 3),
                "seconds": round(seconds, 3),
                "versions": library_versions(),
            }
        )
        self.ledger.write(sealed)
        return sealed
