"""What feature shards say, as a hash: the same from every store, compression, row group size and batch size."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from pipeline.stores.batch import FeatureBatch
from schemas.features import FeatureSpec

ROWS = "rows"  # name of that part in a receipt


class RowsHash:
    """Hash of image ids, statuses and errors, in row order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, image_ids: Sequence[str], statuses: Sequence[str], errors: Sequence[str | None]) -> "RowsHash":
        """Take some rows in."""
        for row in zip(image_ids, statuses, errors, strict=True):
            self._digest.update(json.dumps(row).encode() + b"\n")
        return self

    def hexdigest(self) -> str:
        """Of all rows so far, 64 hex digits."""
        return self._digest.hexdigest()


class ContentHash:
    """Hash of the rows that pass through, in order; 1.5 GB/s, by a thread beside the store's own work.

    Image ids, statuses and the maps of good rows count. Error texts do not, so that other words dirty nothing.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._texts = hashlib.sha256()
        self._rows = RowsHash()
        self._maps = {one.column: hashlib.sha256() for one in spec.maps}
        self._described = spec_content(spec)

    def passing(self, batches: Iterable[FeatureBatch]) -> Iterator[FeatureBatch]:
        """The same batches, taken into the hash on their way to a store: each while the store has it and the next."""
        with ThreadPoolExecutor(1, thread_name_prefix="biam-pipe hash") as thread:
            before: Future[None] | None = None
            for batch in batches:
                added = thread.submit(self._add, batch)
                yield batch
                if before is not None:
                    before.result()
                before = added
            if before is not None:
                before.result()

    def hexdigest(self) -> str:
        """The hash of all rows so far, 64 hex digits."""
        parts = [self._described, self._texts.hexdigest()]
        parts += [f"{column} {digest.hexdigest()}" for column, digest in self._maps.items()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def parts(self) -> dict[str, str]:
        """Hash of ids, statuses and errors of all rows so far, for the receipt: proof of what is read without maps."""
        return {ROWS: self._rows.hexdigest()}

    def _add(self, batch: FeatureBatch) -> None:
        self._rows.add(batch.image_ids, batch.statuses, batch.errors)
        for text in (text for row in zip(batch.image_ids, batch.statuses, strict=True) for text in row):
            encoded = text.encode()
            self._texts.update(len(encoded).to_bytes(8, "little") + encoded)
        good = batch.good
        for column, digest in self._maps.items():  # one hash a map: rows of several maps would mix by batch
            values = batch.maps[column] if good.all() else batch.maps[column][good]
            digest.update(np.ascontiguousarray(values).data)


def spec_content(spec: FeatureSpec) -> str:
    """Hash of what shaped the numbers, 64 hex digits. Library versions do not count: the maps show their effect."""
    return hashlib.sha256(spec.model_dump_json(exclude={"versions"}).encode()).hexdigest()
