"""The table of a prediction: a row for each label of an image that is told, one for an image that could not be used."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, Literal

from pipeline.commands.prediction.result import ImagePrediction

Form = Literal["csv", "parquet"]


def table_bytes(images: Sequence[ImagePrediction], form: Form) -> bytes:
    """The table as a file."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            pa.field("image", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", pa.string()),
            pa.field("rank", pa.int32()),
            pa.field("label", pa.string()),
            pa.field("kind", pa.string()),
            pa.field("score", pa.float32()),
            pa.field("probability", pa.float64()),
            pa.field("heat_map", pa.string()),
        ]
    )
    table = pa.Table.from_pylist([row for image in images for row in _rows(image)], schema=schema)
    file = BytesIO()
    if form == "csv":
        pa.csv.write_csv(table, file)
    else:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


def _rows(image: ImagePrediction) -> Iterator[dict[str, Any]]:
    known = {"image": image.image, "status": image.status, "error": image.error}
    if not image.labels:
        yield known
    for rank, label in enumerate(image.labels, start=1):
        yield {**known, "rank": rank, **vars(label)}
