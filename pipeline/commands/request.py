"""What a user asks of a run."""

import re
import time
from dataclasses import dataclass

from schemas.errors import UsageError
from schemas.status import ImageStatus

_RANGE = re.compile(r"(\d{1,9}):(\d{1,9})")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Request:
    """What to run and for how long.

    Attributes:
        stage: the last stage to run.
        only: that stage alone; its input must be there.
        scheduler: address of a Dask scheduler, None for the embedded cluster.
        deadline: `time.time()` at which to stop, None for never.
        quiet: no progress on stderr.
        verbose: a line for each task that ends, and others more often.
        retry: failed rows with these statuses are fetched again.
        replace: a run of other settings or data in a folder that `train.run` names goes.
        shards: those to bring up to date, with others at work beside them; None for all.
    """

    stage: str
    only: bool = False
    scheduler: str | None = None
    deadline: float | None = None
    quiet: bool = False
    verbose: bool = False
    retry: frozenset[ImageStatus] = frozenset()
    replace: bool = False
    shards: range | None = None


def shard_range(text: str | None) -> range | None:
    """Shards of a text such as "0:40": from the first number to before the second; None for all.

    Raises:
        UsageError: the text is no such range.
    """
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    shards = range(int(found[1]), int(found[2])) if found else range(0)
    if not shards:
        raise UsageError(
            "--shards wants the first shard and the one after the last",
            got=repr(text),
            expected="A:B with A below B",
            hint="Example: 0:40",
        )
    return shards


def deadline(time_budget: str | None) -> float | None:
    """The `time.time()` at which a budget such as "50m" ends that begins now; None for none.

    Raises:
        UsageError: the text is no duration.
    """
    return None if time_budget is None else time.time() + budget_s(time_budget)


def budget_s(time_budget: str) -> float:
    """Seconds of a budget such as "50m".

    Raises:
        UsageError: the text is no duration.
    """
    number, unit = time_budget[:-1], time_budget[-1:]
    if unit not in _UNITS_S or not number.replace(".", "", 1).isdigit():
        raise UsageError(
            "--time-budget wants a number and one of s, m, h, d", got=repr(time_budget), hint="Example: 50m"
        )
    return float(number) * _UNITS_S[unit]
