"""runs/latest.json: which run is the one to use, since when and why; moved by `runs promote` alone."""

import json
from dataclasses import asdict, dataclass

from pipeline.commands.runs.found import FOLDER
from pipeline.files import own_hash
from pipeline.files.storage import Storage
from schemas.command import Command
from schemas.errors import IntegrityError, UsageError

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
    """The run to use; None where none was promoted, or the file is not as it was written: enough to look at runs."""
    try:
        return whole_latest(storage)
    except IntegrityError:
        return None


def whole_latest(storage: Storage) -> Latest | None:
    """The run to use; None where none was promoted. For what would move the pointer, or remove what it leads to.

    Raises:
        IntegrityError: the file is not as it was written.
    """
    try:
        data = storage.read(PATH)
    except FileNotFoundError:
        return None
    try:
        if own_hash.is_whole(data, PATH) is True:
            told = json.loads(data)
            told.pop(_HASH_KEY)
            return Latest(**told)
    except (ValueError, KeyError, TypeError):  # of a version that wrote something else
        pass
    raise IntegrityError(
        f"{storage.shown(PATH)} is not as it was written, so nobody can tell which run is {NAME}",
        expected="the hash that it carries",
        hint="Remove it, and name the run that is to be it:",
        run=Command("runs", ("promote", "RUN"), dataset=storage.name or None),
    )


def write_latest(storage: Storage, found: Latest) -> None:
    """Move the pointer. Only for the holder of the lock."""
    text = json.dumps({_HASH_KEY: own_hash.BLANK, **asdict(found)}, indent=1)
    storage.write(PATH, own_hash.filled(text.encode(), PATH))


def named(storage: Storage, name: str) -> str:
    """The name of the run that a user means: `latest` is where the pointer leads.

    Raises:
        UsageError: no name is given, or none was promoted.
        IntegrityError: the pointer is not as it was written.
    """
    if not name:
        listed = Command("runs", dataset=storage.name or None)
        raise UsageError("no run is named", expected="its name, or latest", hint="They are listed by:", run=listed)
    if name != NAME:
        return name
    found = whole_latest(storage)
    if found is None:
        raise UsageError(
            f"no run is {NAME} yet: {storage.shown(PATH)} is not there",
            expected="the name of a run",
            hint="One is made so by:",
            run=Command("runs", ("promote", "RUN"), dataset=storage.name or None),
        )
    return found.run
