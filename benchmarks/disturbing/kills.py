"""SIGKILL at random moments: of the main process, of all, of one that works, and inside the writers of two formats."""

import os
import random
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL
from threading import Event, Thread

import psutil

from benchmarks.disturbing.bench import WORK, Bench, Trial
from benchmarks.disturbing.faulty_disk import Struck
from benchmarks.flips.warm import session

WRITERS = {  # temporary names, as they are while the bytes are written
    "inside safetensors' writer": rf"/{WORK}/.*/\.tmp[A-Za-z0-9]{{6}}$",
    "inside Parquet's writer": rf"/{WORK}/.*/\.[^/]*\.parquet\.[0-9a-f]{{32}}\.tmp$",
}
_VICTIMS = ("main", "all", "self")  # of a kill inside a writer
_POLL_S = 0.01
_TRIES = 3
# How a run may end after a kill of its main process, and of one that works for it: that one is made up for, or told.
_CODES = {"main": (-SIGKILL,), "all": (-SIGKILL,), "self": (-SIGKILL, 1, 0)}


Find = Callable[[int], list[psutil.Process]]


def _workers(leader: int) -> list[psutil.Process]:
    """Dask's worker processes."""
    return [process for process in session(leader) if process.pid != leader and _holds(process, "/worker-")]


def _training(leader: int) -> list[psutil.Process]:
    return [process for process in session(leader) if _holds(process, "/train.log")]


def _starting(leader: int) -> list[psutil.Process]:
    """All processes, while the cluster starts: there are some, and no worker that is ready."""
    found = session(leader)
    return found if len(found) > 1 and not _workers(leader) else []


def _main(leader: int) -> list[psutil.Process]:
    return [process for process in session(leader) if process.pid == leader]


def _holds(process: psutil.Process, part: str) -> bool:
    """Whether a process has a file open whose path has this part."""
    try:
        return any(part in str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:  # it, or the file, is gone meanwhile
        return False


@dataclass(frozen=True)
class Target:
    """What is killed at a random moment.

    Attributes:
        present: the moment lies while this gives something, of the main process's number.
        victims: one of these is killed then.
        all: the whole session goes at once, and not one of them.
        codes: exit codes that the run may end with.
    """

    present: Find
    victims: Find
    all: bool
    codes: tuple[int, ...]


_WORKER, _START = "a Dask worker", "while the cluster starts"
TARGETS = {
    "the main process": Target(_main, _main, False, _CODES["main"]),
    "all processes": Target(_main, _main, True, _CODES["all"]),
    _WORKER: Target(_workers, _workers, False, (0, 1)),
    "the training": Target(_training, _training, False, (1,)),
    _START: Target(_starting, session, False, (*_CODES["main"], 0, 1)),
}
FEW = 4


@dataclass(frozen=True)
class Kill:
    """One of the random kills.

    Attributes:
        group: what is killed.
        share: of the time for which it is there, or of the calls of the writer, before the kill.
        victim: of a kill inside a writer.
        pick: which of several processes; used modulo their number.
    """

    name: str
    group: str
    share: float
    victim: str
    pick: int
    before: None = None
    settings: tuple[str, ...] = ()
    on_small_disk: bool = False

    def disturb(self, bench: Bench, trial: Trial) -> tuple[list[str], str]:
        """Kill a run; gives what is wrong then, and the moment."""
        strike = _inside_writer if self.group in WRITERS else _at_random
        share = self.share
        for _ in range(_TRIES):
            problems, moment = strike(bench, trial, self, share)
            if moment is not None:
                return problems + bench.false_alarms(trial), moment
            share /= 2  # it was over before
            trial.empty()
        return ["the moment to kill it never came"], ""


def drawn(bench: Bench, number: int, seed: int) -> list[Kill]:
    """So many kills, each target in turn."""
    rng = random.Random(seed)
    groups = [*TARGETS, *(WRITERS if bench.library is not None else ())]
    turns = (groups[turn % len(groups)] for turn in range(number))
    return [
        Kill(f"{turn}, {group}", group, rng.random(), rng.choice(_VICTIMS), rng.randrange(1000))
        for turn, group in enumerate(turns)
    ]


@contextmanager
def measuring(phases: dict[str, float]) -> Iterator[Callable[[int], None]]:
    """Give what is to be called with the main process of a run; fills in how long the targets were there."""
    ended, threads = Event(), []

    def watch(leader: int) -> None:
        while not ended.wait(_POLL_S):
            now = time.monotonic()
            for name, target in TARGETS.items():
                if target.present(leader):
                    phases[name] = now - first.setdefault(name, now)

    def start(leader: int) -> None:
        threads.append(Thread(target=watch, args=(leader,)))
        threads[0].start()

    first: dict[str, float] = {}
    try:
        yield start
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    phases[_START] = first[_WORKER] - first[_START]  # later on there are times without a worker, too


def _inside_writer(bench: Bench, trial: Trial, kill: Kill, share: float) -> tuple[list[str], str | None]:
    struck = Struck("write", WRITERS[kill.group], kill.victim, times=1)
    nth = 1 + int(share * struck.calls(bench.calls))
    ended = bench.command(trial, "run", environment=bench.faulty(trial, replace(struck, nth=nth)))
    if not trial.counted.exists() or trial.counted.stat().st_size < nth:
        return [], None
    whom = {"main": "the main process", "all": "all processes", "self": "the process that writes"}[kill.victim]
    return bench.wrong_with(ended, trial, _CODES[kill.victim]), f"{whom}, at write {nth}"


def _at_random(bench: Bench, trial: Trial, kill: Kill, share: float) -> tuple[list[str], str | None]:
    target, after_s = TARGETS[kill.group], share * bench.phases[kill.group]
    struck: list[str] = []

    def strike(leader: int) -> None:
        if _over(leader, lambda: bool(target.present(leader))) or _over(leader, lambda: False, after_s):
            return
        if found := target.victims(leader):
            struck.append(f"{after_s:.2f} s after it was there, beside {len(session(leader)) - 1} others")
            if target.all:
                os.killpg(leader, SIGKILL)
            else:
                found[kill.pick % len(found)].kill()

    ended = bench.command(trial, "run", started=strike)
    if not struck:
        return [], None
    return bench.wrong_with(ended, trial, target.codes), struck[0]


def _over(leader: int, awaited: Callable[[], bool], limit_s: float = float("inf")) -> bool:
    """Wait for something, at most so long; whether the process has ended before."""
    descriptor, deadline = os.pidfd_open(leader), time.monotonic() + limit_s
    try:
        while (left_s := deadline - time.monotonic()) > 0 and not awaited():
            if select.select([descriptor], [], [], min(_POLL_S, left_s))[0]:
                return True
        return False
    finally:
        os.close(descriptor)
