"""A user's Dask cluster: connected to, and watched.

Workers come and go there, and others use them, too. In the client's loop, so that nobody waits for a host that is gone,
each worker that is there gets probed once; one that is fit is made to offer a resource of this run, which all its tasks
want. So nothing runs on a worker before it has been found fit, and Dask itself moves tasks that wait to those that come
later.
"""

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from pipeline.engine.cluster import on_worker
from pipeline.engine.cluster.embedded import require_dask
from pipeline.engine.cluster.probe import Expected, probed
from pipeline.machine import stopping
from pipeline.machine.loopback import is_loopback
from schemas.command import AGAIN
from schemas.errors import PipelineError, UsageError

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_S = 5.0
_EVERY_S = 0.5
_EVERY_WORKER_S = 0.01  # more than that, for each that is there: the scheduler tells of all of them
_ANSWER_S = 10.0  # of the scheduler
_SILENT_S = 45.0  # Dask gives up a host that does not answer after 30
_OTHERS_S = 5.0  # for a fit worker to come where all others are not: they start at about the same time
_STRANDED_S = 5.0
_STOP_S = 5.0  # for what is under way to stop; what does not commits nothing all the same
_POLL_S = 0.1
_SLOTS = 2**20  # of the run's resource, so that it never is what a task waits for
_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx", "inproc")
_ADDRESS = re.compile(r"(?:([a-z]+)://)?(.+)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})")
_START = "Start one: dask scheduler"

_log = logging.getLogger("biam_pipe.cluster")


def require_address(address: str) -> None:
    """See that an address is one of a scheduler, and say what goes over the wire where it is not encrypted.

    Raises:
        UsageError: it is none, or TLS is not configured.
    """
    scheme, rest = _split(address)
    if scheme == "inproc":
        return
    host = _HOST.fullmatch(rest)
    if scheme not in _SCHEMES or host is None or int(host[2]) > 65535:
        raise UsageError(
            "--scheduler wants the address of a Dask scheduler",
            got=repr(address),
            expected="tls://HOST:PORT or tcp://HOST:PORT",
            hint=f"The scheduler prints it when it starts. {_START}",
        )
    if scheme == "tls":
        _require_tls(address)
    elif scheme == "tcp" and not is_loopback(host[1]):
        _log.warning(
            "%s is not encrypted: whoever is on that network can read what a run sends, and whoever reaches its ports "
            "runs code on its workers. docs/operations.md says how tls:// is set up",
            address,
        )


def _split(address: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(address)
    return ("", "") if found is None else (found[1] or "tcp", found[2])


def _require_tls(address: str) -> None:
    from distributed.security import Security

    tls = Security().get_tls_config_for_role("client")
    missing = [name for name in ("ca_file", "cert") if not tls[name]]
    if missing:
        keys = {"ca_file": "CA_FILE", "cert": "CLIENT__CERT"}
        raise UsageError(
            f"--scheduler {address}: Dask has no TLS settings for a client",
            expected=" and ".join(f"DASK_DISTRIBUTED__COMM__TLS__{keys[name]}" for name in missing),
            hint="Set them, and the key, or put them into ~/.config/dask: see docs/operations.md",
        )
    try:
        Security().get_connection_args("client")
    except (OSError, ValueError) as error:  # such as that of the ssl module
        raise UsageError(
            f"--scheduler {address}: Dask's TLS settings for a client cannot be used ({' '.join(str(error).split())})",
            got=", ".join(f"{name} = {tls[name]}" for name in ("ca_file", "cert", "key") if tls[name]),
            expected="files in PEM, of a key and of its certificate",
            hint="See docs/operations.md",
        ) from error


@contextmanager
def connected(address: str) -> Iterator["Client"]:
    """A client of a cluster that somebody else runs.

    Raises:
        UsageError: the address is none, or TLS is not configured.
        PipelineError: nobody answers.
    """
    require_dask()
    require_address(address)
    from distributed import Client

    try:
        if not address.startswith("inproc"):
            asyncio.run(_reach(address))
        client = Client(address, set_as_default=False, timeout=_CONNECT_S)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise PipelineError(
            f"no Dask scheduler answers at {address} ({' '.join(str(error).split()) or type(error).__name__})",
            hint=_START,
        ) from error
    try:
        yield client
    finally:
        with suppress(OSError, TimeoutError, RuntimeError):  # it is gone: nothing waits for it
            client.close(timeout=_CONNECT_S)


async def _reach(address: str) -> None:
    """Connect once without a client: one that cannot be made is in the way for 10 s when this process ends."""
    from distributed.comm import connect
    from distributed.security import Security

    opened = await connect(address, timeout=_CONNECT_S, **Security().get_connection_args("client"))
    await opened.close()


@dataclass(frozen=True)
class Capacity:
    """What the workers that are fit offer.

    Attributes:
        slots: tasks that can run at once, by resource.
        workers: that can run such tasks, by resource.
        declared: resources of ours that one of them names; for the others any thread will do.
    """

    slots: Mapping[str, int]
    workers: Mapping[str, int]
    declared: frozenset[str]


@dataclass
class Watch:
    """Looks at a user's cluster once or twice a second.

    Attributes:
        address: of the scheduler.
        wanted: of each worker.
        root: the work folder, which no two runs hold at once.
        wait_s: how long no fit worker may be there.
        stranded: called with the keys of tasks that wait on no worker, though they have been submitted long ago.
        pending: keys of tasks that have not ended, with when they were submitted (`time.monotonic()`).
        capacity: of the workers that are fit now.
    """

    client: "Client"
    address: str
    wanted: Expected
    root: str
    wait_s: float
    stranded: Callable[[list[str]], None]
    pending: dict[str, float]
    capacity: Capacity = field(default_factory=lambda: capacity_of({}))

    def __post_init__(self) -> None:
        self.resource = f"biam-pipe-{hashlib.sha256(self.root.encode()).hexdigest()[:12]}"
        self._verdicts: dict[str, list[str]] = {}  # by address; empty where it is fit
        self._named: dict[str, str] = {}
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._workers: dict[str, dict[str, Any]] = {}
        self._suspects: set[str] = set()
        self._heard = self._fit = time.monotonic()  # when the scheduler last answered, and a fit worker was there
        self._looked = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Meanwhile the cluster is watched.

        Raises:
            PipelineError: no worker is there in time, or none of them is fit.
        """
        looking = asyncio.run_coroutine_threadsafe(self._go_on(), self._loop)
        try:
            self._wait_for_first()
            yield
        finally:
            looking.cancel()
            self._loop.call_soon_threadsafe(lambda: [probing.cancel() for probing in self._probing.values()])

    def problem(self) -> PipelineError | None:
        """Why a run cannot go on; None where it can."""
        now = time.monotonic()
        if self.client.status == "closed" or now - self._heard > _SILENT_S:
            return self._gone()
        without_s = now - max([self._fit, *list(self.pending.values())[:1]])  # since there is something to do
        if without_s > self.wait_s or (self._all_unfit() and without_s > _OTHERS_S):
            return self._none_fit()
        return None

    def require_connection(self) -> None:
        """See that the scheduler has not gone for good.

        Raises:
            PipelineError: it has.
        """
        if self.client.status == "closed":
            raise self._gone()

    def stop(self) -> None:
        """Have workers stop what they do for this client, and wait a moment for that."""
        fit = [address for address, differences in self._verdicts.items() if not differences]
        stopping_them = asyncio.run_coroutine_threadsafe(self._stop(fit), self._loop)
        with suppress(TimeoutError, OSError, RuntimeError):
            stopping_them.result(_STOP_S)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        assert self.client.loop is not None, "it is connected"
        loop: asyncio.AbstractEventLoop = self.client.loop.asyncio_loop  # type: ignore[attr-defined]
        return loop

    def _wait_for_first(self) -> None:
        knock = None
        while not self.capacity.workers:
            stopping.heed(None)
            if (problem := self.problem()) is not None:
                raise problem
            if knock is None and self._looked and not self._workers:  # clusters that grow with what they have to do
                _log.warning("the Dask cluster at %s has no workers yet: waiting %g s", self.address, self.wait_s)
                knock = self.client.submit(time.time, pure=False)
            time.sleep(_POLL_S)

    def _all_unfit(self) -> bool:
        return bool(self._workers) and not self._probing and all(map(self._verdicts.get, self._workers))

    def _gone(self) -> PipelineError:
        return PipelineError(
            f"the Dask scheduler at {self.address} is gone, or has not answered for "
            f"{time.monotonic() - self._heard:.0f} s",
            hint="What was committed stays. Once it is there again, run the same command:",
            run=AGAIN,
        )

    def _none_fit(self) -> PipelineError:
        if not self._verdicts:
            return PipelineError(
                f"the Dask cluster at {self.address} has no workers",
                found=0,
                expected="at least 1",
                hint=f"Start one: dask worker {self.address}",
            )
        told = [f"{self._named[address]}: {'; '.join(why)}" for address, why in self._verdicts.items() if why]
        return PipelineError(
            f"no worker of the Dask cluster at {self.address} is fit for this run: "
            + ("\n  " + "\n  ".join(told) if told else "those that were are gone"),
            hint="Workers need this code, these libraries, and the disks of this host under the same paths",
        )

    async def _go_on(self) -> None:
        while True:
            with suppress(OSError, TimeoutError):  # `problem` tells where that lasts
                await asyncio.wait_for(self._look(), _ANSWER_S)
            await asyncio.sleep(_EVERY_S + _EVERY_WORKER_S * len(self._workers))

    async def _look(self) -> None:
        if self.client.scheduler is None:
            return
        found = await self.client.scheduler.identity(n_workers=-1)
        self._heard = time.monotonic()
        self._workers = found["workers"]
        for address in set(self._verdicts) - set(self._workers):
            del self._verdicts[address]  # should it come back, it is another process
        for address, worker in self._workers.items():
            if address not in self._verdicts and address not in self._probing:
                self._named[address] = f"worker {worker['name']} ({address})"
                if worker["resources"].get(self.resource):  # of an earlier run in this folder
                    await self.client.scheduler.set_resources(worker=address, resources={self.resource: 0})
                self._probing[address] = asyncio.ensure_future(self._probe(address, worker))
        self._take_stock()
        await self._seek_stranded()
        self._looked = True

    async def _probe(self, address: str, worker: Mapping[str, Any]) -> None:
        try:
            differences = await probed(self.client, address, self.wanted, int(worker["resources"].get("GPU", 0)))
            if not differences:
                await self.client.run(on_worker.offer, self.resource, _SLOTS, workers=[address])
            else:
                _log.warning("left out: %s: %s", self._named[address], "; ".join(differences))
            self._verdicts[address] = differences
        except (OSError, TimeoutError) as error:  # it went away meanwhile
            _log.debug("%s: %s", self._named[address], error)
        finally:
            del self._probing[address]
        self._take_stock()

    def _take_stock(self) -> None:
        fit = {address: self._workers[address] for address in self._workers if self._verdicts.get(address) == []}
        self.capacity = capacity_of(fit)
        if fit:
            self._fit = time.monotonic()

    async def _seek_stranded(self) -> None:
        """Tell of tasks that wait on no worker: Dask looks for one when a task or a worker comes, not a resource."""
        old = time.monotonic() - _STRANDED_S
        keys = {key for key, submitted in list(self.pending.items()) if submitted < old}
        if not keys or not self.capacity.workers:
            self._suspects = set()
            return
        processing = await self.client.scheduler.processing(workers=None)  # type: ignore[union-attr]
        placed = set(chain.from_iterable(processing.values()))
        suspects = (keys - placed) & self.pending.keys()
        if stranded := suspects & self._suspects:
            self.stranded(sorted(stranded))
        self._suspects = suspects - stranded

    async def _stop(self, addresses: Collection[str]) -> None:
        async def stopped(address: str) -> None:
            with suppress(OSError, TimeoutError):
                while (await self.client.run(on_worker.stop, self.client.id, workers=[address]))[address]:
                    await asyncio.sleep(_POLL_S)

        await asyncio.wait_for(asyncio.gather(*map(stopped, addresses)), _STOP_S)


def capacity_of(workers: Mapping[str, Mapping[str, Any]]) -> Capacity:
    """What these workers offer. Where none names one of our resources, their threads do that work.

    Args:
        workers: as the scheduler tells of them, by address.
    """
    threads = sum(worker["nthreads"] for worker in workers.values())
    slots, counts, declared = {}, {}, set()
    for name in ("io", "compute", "GPU"):
        offering = [worker for worker in workers.values() if worker["resources"].get(name)]
        offered = int(sum(worker["resources"][name] for worker in offering))
        slots[name] = offered or (0 if name == "GPU" else threads)
        counts[name] = len(offering) if offered else len(workers)
        if offered:
            declared.add(name)
    return Capacity(slots, counts if workers else {}, frozenset(declared))
