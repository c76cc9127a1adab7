"""Average precision of each label by row, as a table for other programs."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        pa.field("average_precision", pa.float64()),  # the mean over seeds; null where no run gives the label one
    ]
)


def per_label(document: Mapping[str, Any]) -> pa.Table:
    """A line for each task, label and row of a comparison's document."""
    lines = [
        {"task": task, "label": line["label"], "row": title, "average_precision": value}
        for task, told in document["tasks"].items()
        for line in told["labels"]
        for title, value in line["rows"].items()
    ]
    return pa.Table.from_pylist(lines, schema=SCHEMA)
