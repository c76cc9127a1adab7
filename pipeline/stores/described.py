"""croissant.json of a feature folder: its files with their hashes, and what the rows of Parquet shards hold."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from pipeline.files.croissant import Column, Described, File, Rows, croissant
from schemas.features import FeatureSpec, MapSpec
from schemas.random_weights import is_random
from schemas.receipts import Receipt, status_counts
from schemas.status import ImageStatus

_PARQUET = ".parquet"  # what descriptions of columns are for


def described(dataset: str, spec: FeatureSpec, receipts: Iterable[Receipt], licence: str) -> str:
    """The file's text; equal features have equal ones.

    Args:
        dataset: name of the data set.
        receipts: of all shards and of the spec.
        licence: what is known about using the weights.
    """
    told = list(receipts)
    files = [
        File(PurePosixPath(file.path).name, file.size_bytes, file.sha256)
        for receipt in told
        for file in receipt.files
        if not file.pruned
    ]
    suffixes = {PurePosixPath(file.name).suffix for file in files if file.name.startswith("shard-")}
    rows = [_rows(spec)] if suffixes == {_PARQUET} else []
    counts = status_counts(told)
    images = sum(counts.values()) - counts.get(ImageStatus.REMOVED, 0)
    network = f"{spec.backbone} with {'random ' if is_random(spec.weights) else ''}weights {spec.weights}"
    text = (
        f"Outputs of {network} (sha256 {spec.weights_sha256}) for {counts.get(ImageStatus.OK, 0)} of {images} images "
        f"of {dataset}; recipe {spec.recipe}. spec.json says all that shaped the numbers, README.md how they are read."
    )
    of_weights = f"Images have licences of their own; features derive from them. Weights: {licence}"
    keywords = ("image features", "multi-label", "zero-shot", dataset, spec.backbone)
    cite_as = f"Features of {dataset}, {spec.backbone} ({spec.weights}), biam-pipe recipe {spec.recipe[:8]}"
    whole = Described(f"Features of {dataset}: {spec.backbone}", text, of_weights, keywords, cite_as)
    return croissant(whole, files, rows)


def _rows(spec: FeatureSpec) -> Rows:
    columns = [
        Column("image_id", "text", "The image, as the data set calls it."),
        Column("status", "text", "ok, or why the image has no maps."),
        *(Column(one.column, "text", _about(one)) for one in spec.maps),
    ]
    return Rows("images", f"shard-*{_PARQUET}", columns, "One row an image, in the order of the index.")


def _about(one: MapSpec) -> str:
    shape = ", ".join(map(str, one.shape))
    return (
        f"{one.role.capitalize()} map of layer {one.layer}: the bytes of a little-endian {one.dtype} array of shape "
        f"({shape}), {one.layout}; null where the image failed."
    )
