"""What a user asks of a run."""

import time
from dataclasses import dataclass

from schemas.errors import UsageError
from schemas.status import ImageStatus

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
    """

    stage: str
    only: bool = False
    scheduler: str | None = None
    deadline: float | None = None
    quiet: bool = False
    verbose: bool = False
    retry: frozenset[ImageStatus] = frozenset()
    replace: bool = False


def deadline(time_budget: str | None) -> float | None:
    """The `time.time()` at which a budget such as "50m" ends that begins now; None for none.

    Raises:
        UsageError: the text is no duration.
    """
    if time_budget is None:
        return None
    number, unit = time_budget[:-1], time_budget[-1:]
    if unit not in _UNITS_S or not number.replace(".", "", 1).isdigit():
        raise UsageError(
            "--time-budget wants a number and one of s, m, h, d", got=repr(time_budget), hint="Example: 50m"
        )
    return time.time() + float(number) * _UNITS_S[unit]
