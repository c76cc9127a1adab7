"""Parquet files that the library `datasets` opens with shapes.

Maps are nested lists of numbers, and the file's metadata names them Array2D or Array3D, as `datasets` writes it down.
Images that failed are left out. Read at 0.6 to 1.2 GB/s at most: a form to hand over, not to train from.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.stores.batch import dtype_of
from pipeline.stores.reader import Reader
from pipeline.stores.shard import row_groups
from schemas.features import METADATA_KEY, FeatureSpec, MapSpec

_KEY = "huggingface"


def write(path: Path, reader: Reader, split: dict[str, str | None]) -> int:
    """Write the good rows of a shard; returns how many there are.

    Args:
        split: of each image by id, kept as a column.
    """
    rows = 0
    schema = _schema(reader.spec)
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, use_dictionary=False) as writer:
        for table in _tables(reader, schema, split):
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _tables(reader: Reader, schema: pa.Schema, split: dict[str, str | None]) -> Iterator[pa.Table]:
    for batch in row_groups(reader):
        good = np.flatnonzero(batch.good).tolist()
        ids = [batch.image_ids[row] for row in good]
        columns: list[Any] = [pa.array(ids, pa.string()), pa.array([split.get(one) for one in ids], pa.string())]
        columns += [_nested(batch.maps[one.column][good], one) for one in reader.spec.maps]
        yield pa.Table.from_arrays(columns, schema=schema)


def _schema(spec: FeatureSpec) -> pa.Schema:
    text = {"dtype": "string", "_type": "Value"}
    features: dict[str, Any] = {"image_id": text, "split": text} | {one.column: _feature(one) for one in spec.maps}
    metadata = {_KEY: json.dumps({"info": {"features": features}}), METADATA_KEY: spec.model_dump_json()}
    fields = [pa.field("image_id", pa.string()), pa.field("split", pa.string())]
    fields += [pa.field(one.column, _type(one), metadata=_extension(one)) for one in spec.maps]
    return pa.schema(fields, metadata=metadata)


def _feature(one: MapSpec) -> dict[str, Any]:
    """How `datasets` writes down a column."""
    if len(one.shape) == 1:
        return {"feature": {"dtype": one.dtype, "_type": "Value"}, "length": one.shape[0], "_type": "Sequence"}
    return {"shape": list(one.shape), "dtype": one.dtype, "_type": f"Array{len(one.shape)}D"}


def _extension(one: MapSpec) -> dict[str, str] | None:
    """How `datasets` marks an array among nested lists, for an Arrow that knows its extension types."""
    if len(one.shape) == 1:
        return None
    name = f"datasets.features.features.Array{len(one.shape)}DExtensionType"
    return {"ARROW:extension:name": name, "ARROW:extension:metadata": json.dumps([list(one.shape), one.dtype])}


def _type(one: MapSpec) -> pa.DataType:
    """Lists of lists as `datasets` stores an array; a vector is one list of fixed size."""
    value = pa.from_numpy_dtype(dtype_of(one))
    if len(one.shape) == 1:
        return pa.list_(value, one.shape[0])
    for _ in one.shape:
        value = pa.list_(value)
    return value


def _nested(values: NDArray[Any], one: MapSpec) -> pa.Array:
    flat: pa.Array = pa.array(values.reshape(-1))
    if len(one.shape) == 1:
        return pa.FixedSizeListArray.from_arrays(flat, one.shape[0])
    for length in reversed(one.shape):
        offsets = np.arange(0, len(flat) + 1, length, dtype=np.int32)
        flat = pa.ListArray.from_arrays(pa.array(offsets), flat)
    return flat
