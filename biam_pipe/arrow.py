"""Features as record batches of Arrow, with shapes."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.batches.shards import FeatureShards
from pipeline.stores.batch import FeatureBatch, dtype_of
from pipeline.stores.shard import row_groups
from schemas.features import METADATA_KEY, FeatureSpec, MapSpec


def reader(shards: FeatureShards) -> pa.RecordBatchReader:
    """All rows, a row group at a time; the schema's metadata holds the spec, as that of a shard does."""
    schema = _schema(shards.spec)
    return pa.RecordBatchReader.from_batches(schema, _batches(shards, schema))


def _schema(spec: FeatureSpec) -> pa.Schema:
    fields = [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
    fields += [pa.field(one.column, _type(one)) for one in spec.maps]
    return pa.schema(fields, metadata={METADATA_KEY: spec.model_dump_json()})


def _type(one: MapSpec) -> pa.FixedShapeTensorType:
    return pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype_of(one)), one.shape)


def _batches(shards: FeatureShards, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for position in range(len(shards.numbers)):
        with shards.open(position) as shard:
            for group in row_groups(shard):
                texts = [pa.array(column, pa.string()) for column in (group.image_ids, group.statuses, group.errors)]
                maps = [_tensors(group, one) for one in shards.spec.maps]
                yield pa.RecordBatch.from_arrays([*texts, *maps], schema=schema)


def _tensors(group: FeatureBatch, one: MapSpec) -> pa.ExtensionArray:
    """A column of the batch; null where the image failed."""
    flat = pa.array(np.ascontiguousarray(group.maps[one.column]).reshape(-1))
    kind, good = _type(one), group.good
    mask = None if good.all() else pa.array(~good)
    stored = pa.FixedSizeListArray.from_arrays(flat, kind.storage_type.list_size, mask=mask)
    return pa.ExtensionArray.from_storage(kind, stored)
