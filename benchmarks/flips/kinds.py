"""The kinds of files in a work folder, and those outside of it that the small demo of the benchmark reads."""

import re
from dataclasses import dataclass

VECTORS = "vectors.txt"  # beside the folders of trials, one for all
OUTSIDE = f"../../{VECTORS}"  # from a data set's folder


@dataclass(frozen=True)
class Kind:
    """Files that hold the same sort of thing.

    Attributes:
        pattern: regular expression for their paths below the data set's folder.
        base: where there are some.
        covered: a receipt holds their hash, so that `verify` has to find any damage.
        told: `status` shows its text to people, damaged or not.
        outside: no file of the work folder.
    """

    name: str
    pattern: str
    base: str = "finished"
    covered: bool = True
    told: bool = False
    outside: bool = False


KINDS = (
    Kind("index", r"index/shard-\d+\.parquet"),
    Kind("annotations", r"annotations/shard-\d+\.parquet"),
    Kind("labels", r"labels\.parquet"),
    Kind("downloads", r"downloads/shard-\d+\.parquet"),
    Kind("images", r"images/shard-\d+\.parquet"),
    Kind("features parquet", r"features/.*/shard-\d+\.parquet"),
    Kind("features hdf5", r"features/.*/shard-\d+\.h5"),
    Kind("feature spec", r"features/.*/spec\.json"),
    Kind("feature card", r"features/.*/(README\.md|croissant\.json)"),
    Kind("image splits", r"splits/.*/images-shard-\d+\.parquet"),
    Kind("label roles", r"splits/.*/labels\.parquet"),
    Kind("label matrix", r"embeddings/[^/]*(?<!\.stage)\.parquet"),
    Kind("checkpoint", r"runs/.*/checkpoint/.*", base="stopped"),
    Kind("model", r"runs/.*/model\.safetensors"),
    Kind("history", r"runs/.*/history\.json"),
    Kind("config", r"runs/.*/config\.toml"),
    Kind("metrics", r"runs/.*/metrics\.json"),
    Kind("per label", r"runs/.*/per_label\.parquet"),
    Kind("examples", r"runs/.*/examples\.parquet"),
    Kind("bootstrap", r"runs/.*/bootstrap\.npz"),
    Kind("missing", r"runs/.*/missing\.csv"),
    Kind("calibration", r"runs/.*/calibration\.json"),
    Kind("scores", r"runs/.*/scores\.parquet"),
    Kind("report", r"runs/.*/report\.html"),
    Kind("card of a run", r"runs/.*/(README\.md|croissant\.json)"),
    Kind("shard receipts", r".*/shard-\d+\.json", covered=False),
    Kind("stage receipts", r".*stage\.json", covered=False),
    Kind("stage records", r".*stage\.parquet", covered=False),
    Kind("sources", r"sources\.json", covered=False),
    Kind("lock", r"\.lock", base="died", covered=False, told=True),
    Kind("log", r"runs/.*/train\.log", covered=False),
    Kind("run log", r"(logs/.*|runs/.*/run)\.(jsonl|log)", covered=False),
    Kind("events", r"runs/.*/events\..*", covered=False),
    Kind("vectors", re.escape(OUTSIDE), covered=False, outside=True),
)


def kind_of(path: str) -> Kind:
    """The kind of a file; one of its own where it is none of the known, so that new files are not forgotten."""
    return next((kind for kind in KINDS if re.fullmatch(kind.pattern, path)), Kind(path, re.escape(path)))
