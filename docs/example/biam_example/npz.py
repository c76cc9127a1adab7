"""Store `npz`: a shard as NumPy's archive of arrays. Reads a whole map at a time, so for small shards only."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pipeline.stores.batch import FeatureBatch, checked
from pipeline.stores.reader import damage_named
from schemas.config import StoreConfig
from schemas.features import FeatureSpec, MapSpec

SUFFIX = ".npz"


def write(path: Path, spec: FeatureSpec, options: StoreConfig, batches: Iterable[FeatureBatch]) -> None:
    """Write a shard; all of it is in memory. Maps of images that failed are zero."""
    rows = list(checked(batches, spec))
    maps = {
        one.column: [np.where(_wide(batch.good, one), batch.maps[one.column], 0) for batch in rows] for one in spec.maps
    }
    arrays: dict[str, Any] = {column: np.concatenate(values) for column, values in maps.items()}
    for name in ("image_ids", "statuses", "errors"):
        arrays[name] = np.array([text or "" for batch in rows for text in getattr(batch, name)])
    with path.open("wb") as file:
        np.savez(file, spec=np.array(spec.model_dump_json()), **arrays)


@contextmanager
def open_shard(path: Path, *, verified: bool = False) -> Iterator["NpzReader"]:
    """A shard, opened. NumPy compares each array with its checksum, also where the file's bytes were verified."""
    with damage_named(path, BadZipFile), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield NpzReader(path, arrays)


def example(one: MapSpec) -> str:
    """Lines of Python with which another program reads a map."""
    return f'import numpy as np\n{one.column} = np.load("shard-00000{SUFFIX}")["{one.column}"]\n'


class NpzReader:
    """A shard as `pipeline.stores.reader.Reader` describes it."""

    def __init__(self, path: Path, arrays: Any) -> None:
        self._path, self._arrays = path, arrays
        self.spec = FeatureSpec.model_validate_json(str(arrays["spec"]))
        self.num_rows = len(arrays["image_ids"])
        self.row_groups = [range(self.num_rows)]

    def image_ids(self) -> list[str]:
        """One a row."""
        return self._texts("image_ids")

    def statuses(self) -> list[str]:
        """One a row."""
        return self._texts("statuses")

    def errors(self) -> list[str | None]:
        """One a row; no text where nothing was wrong."""
        return [text or None for text in self._texts("errors")]

    def read(self, rows: range, column: str) -> np.ndarray:
        """Maps of consecutive rows."""
        with damage_named(self._path, BadZipFile):
            return self._arrays[column][rows.start : rows.stop]

    def each(self, rows: Sequence[int], column: str) -> Iterator[np.ndarray]:
        """The map of each of some rows."""
        if rows:
            stored = self.read(range(rows[0], rows[-1] + 1), column)
            yield from (stored[row - rows[0]] for row in rows)

    def _texts(self, name: str) -> list[str]:
        with damage_named(self._path, BadZipFile):
            return self._arrays[name].tolist()


def _wide(good: np.ndarray, one: MapSpec) -> np.ndarray:
    return good.reshape(-1, *(1 for _ in one.shape))
