"""What a store's module has to have."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from schemas.config import StoreConfig
from schemas.features import FeatureSpec, MapSpec

if TYPE_CHECKING:
    from pipeline.stores.batch import FeatureBatch
    from pipeline.stores.reader import Reader


class Store(Protocol):
    """How features lie on disk. All stores hold equal bits.

    Attributes:
        SUFFIX: of its files, with the dot.
    """

    SUFFIX: str

    def write(self, path: Path, spec: FeatureSpec, options: StoreConfig, batches: "Iterable[FeatureBatch]") -> Any:
        """Write a shard of rows in their order, with all that the spec says; equal rows give equal bytes.

        Batches are of any size. Maps of images that failed are ignored.
        """

    def open_shard(self, path: Path, *, verified: bool = False) -> "AbstractContextManager[Reader]":
        """A shard, opened: what `pipeline.stores.reader.Reader` asks for. What is broken is an IntegrityError.

        Args:
            verified: its bytes were compared with its receipt, so that checksums need not be looked at.
        """

    def example(self, one: MapSpec) -> str:
        """Lines of Python with which another program reads a map, for the feature card."""
