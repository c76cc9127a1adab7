"""What a user asks of a run."""

from dataclasses import dataclass

from schemas.status import ImageStatus


@dataclass(frozen=True)
class Request:
    """What to run and for how long.

    Attributes:
        stage: the last stage to run.
        only: that stage alone; its input must be there.
        scheduler: address of a Dask scheduler, None for the embedded cluster.
        deadline: `time.time()` at which to stop, None for never.
        quiet: no progress on stderr.
        retry: failed rows with these statuses are fetched again.
    """

    stage: str
    only: bool = False
    scheduler: str | None = None
    deadline: float | None = None
    quiet: bool = False
    retry: frozenset[ImageStatus] = frozenset()
