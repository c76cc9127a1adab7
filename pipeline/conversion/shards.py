"""A feature shard row group by row group, on its way into another form."""

from collections.abc import Iterator

from pipeline.stores.batch import FeatureBatch
from pipeline.stores.reader import Reader


def row_groups(reader: Reader) -> Iterator[FeatureBatch]:
    """All rows in order; one group is in memory at a time."""
    ids, statuses, errors = reader.image_ids(), reader.statuses(), reader.errors()
    for group in reader.row_groups:
        rows = slice(group.start, group.stop)
        maps = {one.column: reader.read(group, one.column) for one in reader.spec.maps}
        yield FeatureBatch(ids[rows], statuses[rows], errors[rows], maps)
