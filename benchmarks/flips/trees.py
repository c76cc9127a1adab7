"""What tells two work folders apart, and two texts of a command, times aside."""

import io
import json
import re
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

UNCOMPARED = re.compile(r".*/(\.lock|train\.log|events\.[^/]*|run\.(log|jsonl)|logs/[^/]*)")
# Files that hold times, and settings of no recipe such as the store: their hash may be another each time.
_VARYING = ("history.json", "report.html", "config.toml")
_TIMES = re.compile(
    r'("\w*(?:seconds|_s|at)": )[\d.]+|\b\d[\d,.]*\s?(?:ms|s|min|h|[kMG]?B|images/s)\b(?: \d+ (?:s|min|h)\b)*'
)
# What a file says of its own bytes (`hash`) covers the times in it; features may be converted or extracted again, and
# images read in processes of their own, once a worker has died. Each run has a lease of its own.
_UNCOMPARED_KEYS = re.compile(
    r"seconds\w*|started_at|\w+_per_s|modified_ns|changed_ns|inode|(biam_pipe\.)?hash|converted_from|isolated|lease"
)
_WORK_DONE = re.compile(r'\bran \d+|\bup to date\b|"ran": \d+|\bkept \d+|"made": \d+|\d+ made')

_STORE = re.compile(rb'name = "(parquet|hdf5)"')

Tree = dict[str, str]  # a hash by path


def paths(root: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def timeless(name: str, data: bytes) -> bytes:
    """A file's bytes without the times in it; unchanged where it does not read."""
    try:
        if name.endswith("stage.parquet"):
            table = pq.read_table(io.BytesIO(data), page_checksum_verification=True)
            receipts = [_without_times(json.loads(text)) for text in table["receipt"].to_pylist()]
            told = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
            return repr((receipts, _without_times(told))).encode()
        if name == "last.safetensors":  # the header tells how long it took
            return data[8 + int.from_bytes(data[:8], "little") :]
        if name.endswith(".json"):
            return repr(_without_times(json.loads(data))).encode()
        if name == "config.toml":
            return _STORE.sub(b"", data)
        if name.endswith(".html"):
            return _TIMES.sub("", data.decode()).encode()
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return data
    return data


def _without_times(value: object) -> object:
    """JSON without times, and in receipts without size and hash of files that vary.

    A shard of the index that stays has the fingerprint of the run that wrote it, as it has its time.
    """
    if isinstance(value, list):
        return [_without_times(inside) for inside in value]
    if not isinstance(value, dict):
        return value
    if str(value.get("path", "")).endswith(_VARYING):
        value = {name: inside for name, inside in value.items() if name not in ("size_bytes", "sha256")}
    if any(str(file["path"]).endswith(_VARYING) for file in value.get("files", ()) if "sha256" in file):
        hashes = "+".join(str(file["sha256"]) for file in value["files"])
        value = {name: inside for name, inside in value.items() if inside != hashes}
    if value.get("stage") == "index" and value.get("shard") is not None:
        value = {name: inside for name, inside in value.items() if name != "fingerprint"}
    return {
        name: _without_times(inside) for name, inside in sorted(value.items()) if not _UNCOMPARED_KEYS.fullmatch(name)
    }


def differing(expected: Tree, found: Tree, but: Collection[str], extra: bool = False) -> str | None:
    """How two folders differ; None where they do not.

    Args:
        but: paths that do not count.
        extra: further files in the second do not count either.
    """
    names = sorted((expected.keys() if extra else expected.keys() | found.keys()) - set(but))
    wrong = [name for name in names if expected.get(name) != found.get(name)]
    if not wrong:
        return None
    how = "is missing" if wrong[0] not in found else "is left over" if wrong[0] not in expected else "is another"
    return f"{wrong[0]} {how}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")


def has_worked(text: str) -> bool:
    """Whether a command says that it had something to do."""
    return re.search(r'\bran \d|"ran": [1-9]', text) is not None


def worked(text: str) -> str:
    """What a command says, but for what it had to do, times and sizes."""
    return re.sub(r" +", " ", _WORK_DONE.sub("", _TIMES.sub(r"\1", text)))


def last_line(text: str) -> str:
    """What a command said last, without the settings that it repeats."""
    lines = [line for line in text.strip().splitlines() if line.strip() not in ("", "}")]
    return lines[-1].partition(" --set ")[0][:300] if lines else "nothing said"


def first_difference(expected: str, found: str) -> str:
    """The first line that is another."""
    lines = zip([*expected.splitlines(), ""], [*found.splitlines(), ""], strict=False)
    before, after = next(((before, after) for before, after in lines if before != after), ("", "something else"))
    return f"{after.strip()!r}, not {before.strip()!r}"[:300]
