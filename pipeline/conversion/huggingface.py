"""Parquet files that the library `datasets` opens with shapes and labels: a set of files for each split, and a card.

Maps are nested lists of numbers, and the file's metadata names them Array2D or Array3D, as `datasets` writes it down.
Labels are numbers of a ClassLabel, those of the data set's label space. Images that failed are left out. Read at 0.6 to
1.2 GB/s at most: a form to hand over, not to train from.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.conversion.form import Handover, Labels, Write, pieces
from pipeline.conversion.form_files import CARD, MADE_HERE
from pipeline.stores.batch import dtype_of
from pipeline.stores.shard import row_groups
from schemas.features import METADATA_KEY, FeatureSpec, MapSpec
from schemas.random_weights import is_random

VERSION = 2
READS = ("index", "extract", "split", "unseen")

_KEY = "huggingface"
_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # of which the hub's cards name the range


def jobs(handover: Handover) -> dict[str, Write]:
    """One Parquet file a shard and split, the labels with their roles, and the card."""
    made: dict[str, Write] = {
        f"data/{split}-{handover.features.numbers[position]:05d}.parquet": partial(_write, handover, position, rows)
        for split, position, rows in pieces(handover)
    }
    return {**made, "labels.parquet": partial(_write_labels, handover), CARD: partial(_write_card, handover)}


def opened(out: str) -> str:
    """As one line of Python."""
    return f'load_dataset("{out}")'


def _write(handover: Handover, position: int, rows: Sequence[int], path: Path) -> int:
    """Write some rows of a shard."""
    schema = _schema(handover.features.spec, handover.labels)
    known = handover.known(handover.features.numbers[position])
    with (
        handover.features.open(position) as reader,
        pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, use_dictionary=False) as writer,
    ):
        for table in _tables(row_groups(reader), schema, reader.spec, known, frozenset(rows)):
            writer.write_table(table)
    return len(rows)


def _tables(
    groups: Iterator[Any],
    schema: pa.Schema,
    spec: FeatureSpec,
    known: Sequence[Mapping[str, Any]],
    wanted: frozenset[int],
) -> Iterator[pa.Table]:
    start = 0
    for batch in groups:
        rows = [row for row in range(start, start + len(batch)) if row in wanted]
        if rows:
            inside = np.array(rows) - start
            columns: list[Any] = [pa.array([batch.image_ids[row] for row in inside], pa.string())]
            columns += [
                pa.array([known[row][told] for row in rows], pa.list_(pa.int64())) for told in ("positive", "negative")
            ]
            columns += [_nested(batch.maps[one.column][inside], one) for one in spec.maps]
            yield pa.Table.from_arrays(columns, schema=schema)
        start += len(batch)


def _schema(spec: FeatureSpec, labels: Labels) -> pa.Schema:
    of_label = {"feature": {"names": list(labels.names), "_type": "ClassLabel"}, "_type": "Sequence"}
    features: dict[str, Any] = {"image_id": {"dtype": "string", "_type": "Value"}}
    features |= {"labels": of_label, "absent_labels": of_label} | {one.column: _feature(one) for one in spec.maps}
    metadata = {_KEY: json.dumps({"info": {"features": features}}), METADATA_KEY: spec.model_dump_json()}
    fields = [pa.field("image_id", pa.string())]
    fields += [pa.field(name, pa.list_(pa.int64())) for name in ("labels", "absent_labels")]
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


def _write_labels(handover: Handover, path: Path) -> int:
    """The labels by their numbers, with the data set's own ids and roles; no image is in the file."""
    labels = handover.labels
    numbers = pa.array(range(len(labels.names)), pa.int32())
    pq.write_table(
        pa.table(
            {
                "label": numbers,
                "name": labels.names,
                "label_id": labels.ids,
                "role": pa.array(labels.roles, pa.string()),
            }
        ),
        path,
        compression="zstd",
    )
    return 0


def _write_card(handover: Handover, path: Path) -> int:
    """The card, with the head that the hub and `datasets` read."""
    path.write_text("\n".join([*_head(handover), "", *_body(handover), ""]), encoding="utf-8")
    return 0


def _images(handover: Handover) -> dict[str, int]:
    return {split: sum(map(len, shards.values())) for split, shards in handover.rows.items()}


def _head(handover: Handover) -> Iterator[str]:
    """YAML; texts stand in it as JSON, which YAML reads."""
    images = sum(_images(handover).values())
    least, most = max([1, *(size for size in _SIZES if size <= images)]), [*(size for size in _SIZES if size > images)]
    size = f"{_short(least)}<n<{_short(most[0])}" if most and least > 1 else "n<1K" if most else f"n>{_short(least)}"
    yield "---"
    yield f"pretty_name: {json.dumps(f'Features of {handover.inputs.dataset}: {handover.features.spec.backbone}')}"
    yield "license: other"
    yield "task_categories: [image-classification, zero-shot-image-classification]"
    yield "task_ids: [multi-label-image-classification]"
    yield f"size_categories: [{size}]"
    yield f"tags: {json.dumps(['features', 'multi-label', 'zero-shot', 'biam-pipe', handover.features.spec.backbone])}"
    yield "configs:"
    yield "- config_name: default"
    yield "  data_files:"
    for split in handover.rows:
        yield f"  - {{split: {split}, path: {json.dumps(f'data/{split}-*.parquet')}}}"
    yield "---"


def _short(number: int) -> str:
    return f"{number // 1_000_000}M" if number >= 1_000_000 else f"{number // 1_000}K"


def _body(handover: Handover) -> Iterator[str]:
    spec, labels, dataset = handover.features.spec, handover.labels, handover.inputs.dataset
    yield MADE_HERE
    yield f"# Features of {dataset}: {spec.backbone}"
    if is_random(spec.weights):
        yield from ("", f"**Random weights** ({spec.weights}): the network was never trained. For tests alone.")
    yield from ("", "```python", "from datasets import load_dataset", "")
    yield f'rows = load_dataset("{handover.out.name}").with_format("numpy")  # the path of this folder'
    yield f'rows["{next(iter(handover.rows))}"][0]["{spec.maps[0].column}"].shape  # {spec.maps[0].shape}'
    yield "```"
    yield from ("", "| split | images |", "|---|---|")
    yield from (f"| {split} | {images:,} |" for split, images in _images(handover).items())
    yield from ("", "| column | is |", "|---|---|", "| image_id | the image, as the data set calls it |")
    seen, unseen = labels.roles.count("seen"), labels.roles.count("unseen")
    counted = f"{len(labels.names):,}: {seen:,} seen, {unseen:,} unseen (`labels.parquet`)"
    yield f"| labels | labels that it bears, of {counted} |"
    yield "| absent_labels | labels that somebody found absent; null: all that are not in `labels` are absent |"
    for one in spec.maps:
        shape = " x ".join(map(str, one.shape))
        yield f"| {one.column} | {one.role} map of layer {one.layer}, {shape} ({one.layout}), {one.dtype} |"
    yield from (
        "",
        "Images that failed are left out. Unseen labels are for testing: a zero-shot model learns nothing of them.",
    )
    yield from ("", "## Made of", "", f"- Weights: {spec.weights}, sha256 {spec.weights_sha256}")
    yield f"- Recipe: {spec.recipe}"
    yield "- Made with: " + ", ".join(f"{name} {version}" for name, version in spec.versions.items())
    yield from (
        "",
        "## Licence",
        "",
        f"Images have licences of their own; features derive from them. Weights: {handover.licence}.",
    )
