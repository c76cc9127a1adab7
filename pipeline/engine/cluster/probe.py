"""What a worker of a user's cluster sees and is, compared with what this process sees and is.

A worker with other code, or other versions of what shapes numbers, gives other features and nobody notices; one that
does not see the photographs says of each that it is missing. So each worker is probed before it gets work, and what
differs is told by name. The text of `look` is what it runs: a worker may have none of our packages, or others.
"""

import asyncio
import inspect
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

WITHIN_S = 10.0  # of a worker whose processor is busy; on an idle one it takes half a second
_CLOCK_S = 1.0
_OURS = ("pipeline", "schemas", "dags")
_DO = "pipeline.engine.cluster.on_worker"  # what is imported there first of all
_LIBRARIES = ("torch", "torchvision", "pillow", "numpy", "pyarrow")
_CALL = "(exec(source, (found := {})), found['look'](**arguments))[1]"


def look(packages: list[str], libraries: list[str], lease: str | None, files: list[str], entry: str) -> dict[str, Any]:
    """What the process that runs this sees and is, as JSON values. Its text alone travels: it imports all it needs.

    Args:
        packages: whose code counts.
        libraries: distributions whose version counts.
        lease: path of a file, whose text is given back.
        files: paths of files and folders.
        entry: a module that has to be importable.
    """
    import hashlib
    import importlib.util
    import os
    import socket
    import sys
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    def code(package: str) -> str | None:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            return None
        if spec is None or spec.origin is None or not spec.has_location:
            return None
        origin, digest = Path(spec.origin), hashlib.sha256()
        for path in sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]:
            digest.update(path.relative_to(origin.parent).as_posix().encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def installed(library: str) -> str | None:
        try:
            return version(library)
        except PackageNotFoundError:
            return None

    def size(path: str) -> int | None:
        found = Path(path).expanduser()
        if not os.access(found, os.R_OK):
            return None
        return -1 if found.is_dir() else found.stat().st_size

    def text(path: str) -> str | None:
        try:
            return Path(path).read_text() if os.access(Path(path).parent, os.W_OK) else None
        except OSError:
            return None

    def place() -> list[str]:
        """What tells one loopback interface from another: the host, since it was started, and its network."""
        try:
            return [
                Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
                str(Path("/proc/self/ns/net").readlink()),
            ]
        except OSError:  # no Linux
            return [socket.gethostname()]

    gpus = sum(path.name.removeprefix("nvidia").isdigit() for path in Path("/dev").glob("nvidia*"))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus and chosen is not None:
        gpus = sum(name not in ("", "-1") for name in chosen.split(","))
    # Code that a process has imported stays what it was, whatever lies on the disk later.
    began = sys.__dict__.setdefault("_biam_pipe_code", {})
    now = {package: code(package) for package in packages}
    loaded = {package: began.setdefault(package, now[package]) for package in packages if now[package]}
    problem = None
    try:
        importlib.import_module(entry)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        problem = f"{type(error).__name__}: {error}"
    return {
        "code": now,
        "older": [package for package, seen in loaded.items() if seen != now[package]],
        "versions": {library: installed(library) for library in libraries},
        "lease": None if lease is None else text(lease),
        "files": {path: size(path) for path in files},
        "place": place(),
        "gpus": gpus,
        "problem": problem,
    }


_SOURCE = f"from __future__ import annotations\n{inspect.getsource(look)}"  # what annotations name is not there


@dataclass(frozen=True)
class Expected:
    """What a worker has to see and to be.

    Attributes:
        here: what `look` gives in this process.
        arguments: it was called with.
        loopback: an address that only this host's loopback interface leads to, if one is needed.
    """

    here: Mapping[str, Any]
    arguments: Mapping[str, Any]
    loopback: str | None

    def differences(self, there: Mapping[str, Any] | BaseException, clock_s: float, offered_gpus: int) -> list[str]:
        """Why a worker is not fit; empty where it is.

        Args:
            there: what `look` gave there, or why it gave nothing.
            clock_s: by how much its clock is off.
            offered_gpus: that it says it has.
        """
        if isinstance(there, BaseException):
            return [f"it cannot be probed ({type(there).__name__}: {str(there)[:200] or f'in {WITHIN_S:g} s'})"]
        here, told = self.here, []
        without = [name for name, code in here["code"].items() if code and there["code"][name] is None]
        other = [name for name, code in here["code"].items() if there["code"][name] not in (None, code)]
        if without:
            told.append(f"it has no package {', '.join(without)}")
        elif there["problem"]:
            told.append(f"it cannot import biam-pipe ({there['problem']})")
        if other:
            told.append(f"its code of {', '.join(other)} is another")
        if there["older"]:
            told.append(f"it has loaded older code of {', '.join(there['older'])}, and has to be started again")
        for name, version in here["versions"].items():
            if there["versions"][name] != version:
                told.append(f"it has {name} {there['versions'][name] or 'not at all'}, and this run {version}")
        if there["lease"] != here["lease"]:
            told.append(
                f"it does not see the work folder {Path(self.arguments['lease']).parent}, or may not write there"
            )
        unseen = [path for path, size in here["files"].items() if there["files"][path] != size]
        if unseen:
            told.append(f"it does not see {unseen[0]}" + (f" and {len(unseen) - 1} more" if unseen[1:] else ""))
        if clock_s > _CLOCK_S:
            told.append(f"its clock is {clock_s:.0f} s off")
        if offered_gpus > there["gpus"]:
            told.append(f"it offers GPU={offered_gpus} and has {there['gpus'] or 'none'}")
        if self.loopback is not None and there["place"] != here["place"]:
            told.append(f"it cannot reach {self.loopback}, which is on the host that the run was started on")
        return told


def expected(modules: Collection[str], lease: Path | None, places: Sequence[str], loopback: str | None) -> Expected:
    """What this process sees and is.

    Args:
        modules: that the tasks come from; the packages that they are in count.
        lease: of the work folder; None where the run has none.
        places: files and folders from outside that tasks may read.
        loopback: as `Expected` has it.
    """
    packages = {*_OURS, *(name.partition(".")[0] for name in modules)}
    groups = [group for group in entry_points().groups if group.startswith("biam_pipe.")]
    packages |= {point.module.partition(".")[0] for group in groups for point in entry_points(group=group)}
    arguments: dict[str, Any] = {
        "packages": sorted(packages - {"__main__"}),
        "libraries": list(_LIBRARIES),
        "lease": None if lease is None else str(lease),
        "files": sorted({_witness(place) for place in places if Path(place).expanduser().exists()}),
        "entry": _DO,
    }
    return Expected(look(**arguments), arguments, loopback)


def _witness(place: str) -> str:
    """A file to look for: the place, or the first file below it. A folder in which nothing is mounted is there, too."""
    folder = Path(place).expanduser()
    if not folder.is_dir():
        return place
    return next((str(Path(root, names[0])) for root, _, names in os.walk(folder) if names), place)


async def probed(client: "Client", address: str, wanted: Expected, offered_gpus: int) -> list[str]:
    """Why a worker is not fit for a run; empty where it is. To be awaited in the client's loop."""
    there: Mapping[str, Any] | BaseException
    clock_s = 0.0
    call = {"source": _SOURCE, "arguments": dict(wanted.arguments)}
    try:
        there = await _answer(client, address, eval, _CALL, call)
        before = time.time()
        clock = await _answer(client, address, time.time)
        clock_s = max(before - clock, clock - time.time(), 0.0)
    except Exception as error:  # noqa: BLE001 - told by name, and the worker gets no work
        there = error
    return wanted.differences(there, clock_s, offered_gpus)


async def _answer(client: "Client", address: str, function: Any, *arguments: Any) -> Any:
    answers = await asyncio.wait_for(client.run(function, *arguments, workers=[address]), WITHIN_S)
    return answers[address]
