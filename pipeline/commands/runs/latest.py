"""runs/latest.json: which run is the one to use, since when and why; moved by `runs promote` alone."""

import json
from dataclasses import asdict, dataclass

from pipeline.commands.runs.found import FOLDER
from pipeline.files import own_hash
from pipeline.files.storage import Storage

NAME = "latest"  # by which `--run` and `runs` know it
PATH = f"{FOLDER}/{NAME}.json"
_HASH_KEY = "hash"  # of the file's own bytes


@dataclass(frozen=True)
class Latest:
    """The run to use.

    Attributes:
        run: its name.
        since: when it was promoted, ISO 8601.
        figure: that decided, as `section/figure`.
        value: what it has of that.
        before: the run that it took the place of; None where there was none.
        gain: how much better it was over the test images of both; None where there was none before.
        interval: of the gain, 95 %.
    """

    run: str
    since: str
    figure: str
    value: float
    before: str | None = None
    gain: float | None = None
    interval: tuple[float, float] | None = None


def latest(storage: Storage) -> Latest | None:
    """The run to use; None where none was promoted, or the file is not as it was written."""
    try:
        data = storage.read(PATH)
        if own_hash.is_whole(data, PATH) is not True:
            return None
        told = json.loads(data)
        told.pop(_HASH_KEY)
        return Latest(**told)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_latest(storage: Storage, found: Latest) -> None:
    """Move the pointer. Only for the holder of the lock."""
    text = json.dumps({_HASH_KEY: own_hash.BLANK, **asdict(found)}, indent=1)
    storage.write(PATH, own_hash.filled(text.encode(), PATH))


def named(storage: Storage, name: str) -> str:
    """The name of the run that a user means: `latest` is where the pointer leads, if there is one."""
    found = latest(storage) if name == NAME else None
    return name if found is None else found.run
