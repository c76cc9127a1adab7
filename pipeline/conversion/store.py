"""A feature shard in another store: equal bits, and a receipt that says so."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.batches.shards import FeatureShards
from pipeline.engine.ledger import Ledger, file_receipt, library_versions
from pipeline.files.inputs import OutputFile
from pipeline.stores import STORES
from pipeline.stores.shard import row_groups, write_shard
from schemas.config import StoreConfig
from schemas.receipts import Receipt


@dataclass(frozen=True)
class StoreCopy:
    """Where shards go.

    Attributes:
        features: the shards as they are.
        options: of the store that they go to.
        ledger: of the stage that gives the same features there.
        outputs: the files that it leaves.
    """

    features: FeatureShards
    options: StoreConfig
    ledger: Ledger
    outputs: Mapping[str, OutputFile]

    def stands(self, receipt: Receipt, copied: Receipt) -> bool:
        """Whether the copy of these files has the bytes that its receipt says.

        Raises:
            IntegrityError: the files themselves have others than theirs says.
        """
        self.features.inputs.path("extract", "spec" if receipt.shard is None else "features", receipt.shard)
        return all(self.ledger.storage.sha256(file.path) == file.sha256 for file in copied.files)

    def make(self, receipt: Receipt) -> Receipt:
        """Copy what the receipt names, and write the receipt of the copy: the same but for the files.

        Raises:
            IntegrityError: a file is not what the receipt says.
        """
        ledger = self.ledger
        ledger.forget_record()
        ledger.forget(receipt.shard)
        started_at, started = time.time(), time.perf_counter()
        path = self._whole() if receipt.shard is None else self._shard(receipt, receipt.shard)
        sealed = receipt.model_copy(
            update={
                "files": (file_receipt(ledger.storage, path),),
                "facts": {**receipt.facts, "converted_from": self.features.store, **STORES.recipe(self.options.name)},
                "started_at": round(started_at, 3),
                "seconds": round(time.perf_counter() - started, 3),
                "versions": library_versions(),
            }
        )
        ledger.write(sealed)
        return sealed

    def _shard(self, receipt: Receipt, number: int) -> str:
        path = self.outputs["features"].at(number)
        with (
            self.features.open(self.features.numbers.index(number)) as reader,
            self.ledger.storage.commit(path) as temporary,
        ):
            content = write_shard(temporary, reader.spec, self.options, row_groups(reader))
        if content.hexdigest() != receipt.content:
            found = f"it holds other features than its receipt says, expected content {receipt.content[:16]}..."
            raise self.features.inputs.damaged("extract", "features", number, found)
        return path

    def _whole(self) -> str:
        path = self.outputs["spec"].at(None)
        self.ledger.storage.write(path, self.features.inputs.read("extract", "spec"))
        return path
