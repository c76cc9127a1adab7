"""What a look at the world came to, and many looks at once, none of which is waited for too long."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import StrEnum
from threading import Thread

from pipeline.net.fetch import fetching
from schemas.config import DownloadConfig
from schemas.errors import PipelineError


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # a run can do with it, or nobody knows
    FAULT = "fault"  # a run would fail


@dataclass(frozen=True)
class Finding:
    """One line of what `check` tells.

    Attributes:
        name: of what was looked at: a setting, or a part of the machine.
        found: what there is.
        remedy: what to do about it; empty where all is well.
    """

    name: str
    outcome: Verdict
    found: str
    remedy: str = ""


Look = Callable[[], Iterable[Finding]]


def fault(name: str, error: PipelineError) -> Finding:
    """The finding that an error stands for."""
    told = str(PipelineError(error.what, got=error.got, found=error.found, expected=error.expected))
    return Finding(name, Verdict.FAULT, told, str(error).removeprefix(told).strip(".: "))


def together(looks: Mapping[str, Look], config: DownloadConfig, budget_s: float) -> Iterator[Finding]:
    """All findings, look by look. One that is not done in time is a warning, and goes on in vain.

    Args:
        looks: by the name under which a finding tells that one failed, or took too long.
        config: how whatever is fetched is fetched.
    """
    begun = {name: _begun(look, config) for name, look in looks.items()}
    started = time.monotonic()
    for name, future in begun.items():
        wait([future], timeout=max(0.0, started + budget_s - time.monotonic()))
        if not future.done():
            told = f"not known: it took longer than {budget_s:g} s"
            yield Finding(
                name, Verdict.WARNING, told, "Is the machine busy, or a disk slow? Run the same command again"
            )
            continue
        try:
            yield from future.result()
        except PipelineError as error:
            yield fault(name, error)


def _begun(look: Look, config: DownloadConfig) -> "Future[list[Finding]]":
    """The findings to come, of a thread that does not keep the program from ending."""
    future: Future[list[Finding]] = Future()

    def work() -> None:
        try:
            with fetching(config):
                future.set_result(list(look()))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is taken
            future.set_exception(error)

    Thread(target=work, name="biam-pipe check", daemon=True).start()
    return future
