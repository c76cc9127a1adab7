"""A shard written and read as a whole, whatever the store."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch
from pipeline.stores.content import ContentHash
from pipeline.stores.reader import Reader
from schemas.config import StoreConfig
from schemas.features import FeatureSpec


def write_shard(path: Path, spec: FeatureSpec, options: StoreConfig, batches: Iterable[FeatureBatch]) -> ContentHash:
    """Write a shard; gives the hash of what it holds. What a store wrote that is not ours is read once more.

    Raises:
        UsageError: such a store does not give back what it got.
    """
    store, content = STORES.load(options.name), ContentHash(spec)
    store.write(path, spec, options, content.passing(batches))
    if options.name not in STORES.ours:
        again = ContentHash(spec)
        with store.open_shard(path) as reader:
            rows = sum(len(batch) for batch in again.passing(row_groups(reader)))
        if (again.hexdigest(), again.parts) != (content.hexdigest(), content.parts):
            raise STORES.refusal(
                options.name, f"of a shard that it wrote, {path.name}, it gives back other {rows} rows"
            )
    return content


def row_groups(reader: Reader) -> Iterator[FeatureBatch]:
    """All rows in order; one group is in memory at a time."""
    ids, statuses, errors = reader.image_ids(), reader.statuses(), reader.errors()
    for group in reader.row_groups:
        rows = slice(group.start, group.stop)
        maps = {one.column: reader.read(group, one.column) for one in reader.spec.maps}
        yield FeatureBatch(ids[rows], statuses[rows], errors[rows], maps)
