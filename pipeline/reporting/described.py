"""croissant.json of a run: its files with their hashes, and what is said of each label."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from pipeline.files.croissant import Column, Described, File, Rows, croissant
from pipeline.reporting.card import RunCard
from schemas.receipts import Receipt

_LABELS = "per_label.parquet"
_TIMED = ("config.toml", "history.json")  # equal runs, of other seconds or another store, have other ones
_ABOUT = {
    "model.safetensors": "The model: its weights, and in the metadata how it is built.",
    "metrics.json": "All figures beside chance and controls.",
    _LABELS: "Average precision of each label.",
    "missing.csv": "Images of the splits that have no features, and why.",
    "examples.parquet": "Test images with what the model says of them.",
    "bootstrap.npz": "The figures over test images drawn anew.",
}
_COLUMNS = (
    Column("label_index", "integer", "The label's number in the label space."),
    Column("label_id", "text", "The data set's own name of the label."),
    Column("name", "text", "What people read."),
    Column("role", "text", "seen or unseen."),
    Column("positives", "integer", "Test images known to bear it."),
    Column("negatives", "integer", "Test images known not to."),
    Column("average_precision", "float", "In [0, 1]; null where the protocol gives the label none."),
    Column("chance", "float", "The same of random scores."),
)


def described(run: RunCard, receipts: Iterable[Receipt]) -> str:
    """The file's text; equal runs have equal ones.

    Args:
        run: what its card tells.
        receipts: of the stages that left the files.
    """
    files = [
        File(name := PurePosixPath(file.path).name, file.size_bytes, file.sha256, _ABOUT.get(name))
        for receipt in receipts
        for file in receipt.files
        if not file.pruned and not file.path.endswith(_TIMED)
    ]
    weights = f"{'random ' if run.random_weights else ''}weights {run.spec.weights}"
    text = (
        f"{run.model} ({run.preset}) trained and evaluated on {run.dataset} by protocol {run.protocol}, over features "
        f"of {run.spec.backbone} with {weights}. README.md is its card."
    )
    whole = Described(
        name=f"{run.model}-{run.preset} on {run.dataset}",
        description=text,
        licence="That of images, backbone and word vectors holds for what is made of them.",
        keywords=("multi-label", "zero-shot", run.model, run.dataset, run.spec.backbone),
        cite_as=f"{run.model} ({run.preset}) on {run.dataset}, biam-pipe recipe {run.recipe[:8]}",
    )
    return croissant(whole, files, [Rows("labels", _LABELS, _COLUMNS, "One row a label, seen ones first.")])
