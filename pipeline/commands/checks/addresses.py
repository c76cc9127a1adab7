"""Files from outside before they are fetched: there, as large as known, of the form and the hash that are expected."""

from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.backbones import describe, weights
from pipeline.commands.checks.finding import Finding, Verdict, fault
from pipeline.datasets.contract import DataSet
from pipeline.files.refusals import refusals_named
from pipeline.files.storage import sha256_file
from pipeline.net.look import Beginning, OutsideFile, beginning, plain
from pipeline.vectors.source import source_of
from schemas.config import Config
from schemas.errors import PipelineError
from schemas.readable import duration_text, printable, size_text
from schemas.status import ImageStatus

_LOOK_S = 20.0
_FIRST_BYTES = 1 << 16
_FETCHED_BYTES = 1 << 20  # a file up to this is fetched whole where its hash is known
_HASHED_BYTES = 1 << 30  # a file of this machine up to this is hashed, in a second or two
_SHOWN_BYTES = 16
_APART_S = 60.0
_PAGE = (b"<!doctype html", b"<html")

_OFFLINE = frozenset({ImageStatus.DNS_ERROR, ImageStatus.CONNECTION_ERROR, ImageStatus.TIMEOUT})


def network_remedy(status: ImageStatus) -> str:
    """What to do about a server that could not be asked; empty where it gave an answer."""
    if status in _OFFLINE:
        return "See to this machine's network, its firewall or its proxy (https_proxy)"
    if status is ImageStatus.TLS_ERROR:
        return "See to the clock, and to the certificates (SSL_CERT_FILE) where a proxy opens connections"
    if status is ImageStatus.PRIVATE_ADDRESS:
        return "List its network in download.allowed_networks"
    return ""


def weights_and_vectors(config: Config, bases: dict[str, str]) -> Iterator[OutsideFile | Finding]:
    """The files of the sections backbone, embed and train, or what is wrong with their settings."""
    try:
        if (file := weights.outside_file(config.backbone, describe(config.backbone).published)) is not None:
            yield file
    except PipelineError as error:
        yield fault("backbone.weights", error)
    try:
        yield from source_of(config.embed).outside_files(bases)
    except PipelineError as error:
        yield fault("embed.vectors", error)
    if config.train.weights is not None:
        yield OutsideFile("train.weights", config.train.weights)


def looked_at(file: OutsideFile, clocks: list[float]) -> Iterator[Finding]:
    """What there is of one file.

    Args:
        clocks: takes by how many seconds the server's clock is ahead.

    Raises:
        PipelineError: the system refuses to read a file of this machine.
    """
    path, where = file.here, printable(file.address)
    fetched = path is not None and path == file.kept
    if path is not None and not path.is_file():
        told = f"no file {where!r} (seen from {Path.cwd()})"
        yield Finding(file.setting, Verdict.FAULT, told, f"Check {file.setting}")
        return
    with refusals_named(path or where, "read"):
        found = beginning(file, _FETCHED_BYTES if file.sha256 else _FIRST_BYTES, _LOOK_S)
        problem = _problem(file, found, path)
    if found.ahead_s is not None:
        clocks.append(found.ahead_s)
    if problem is not None:
        remedy = (found.fault and network_remedy(found.fault)) or f"Check {file.setting}"
        other = f"set {file.setting} to the path of a copy" if path is None else "have it made again"
        other = f"remove {path} to have it fetched again" if fetched else other
        yield Finding(file.setting, Verdict.FAULT, f"{problem}: {where}", f"{remedy}, or {other}")
        return
    size = "unknown size" if found.size_bytes is None else size_text(found.size_bytes)
    yield Finding(file.setting, Verdict.OK, f"{size}, {'fetched: ' if fetched else ''}{path or where}")


def _problem(file: OutsideFile, found: Beginning, path: Path | None) -> str | None:
    """What is wrong with a file; None where nothing is, as far as its beginning tells."""
    if found.fault is not None:
        return found.error
    if not found.data:
        return "an empty file"
    if file.size_bytes is not None and found.size_bytes not in (None, file.size_bytes):
        return f"{found.size_bytes} bytes, expected {file.size_bytes}"
    head = plain(found.data)
    if head.lstrip().lower().startswith(_PAGE):
        return "a web page in the place of the file"
    if file.begins and not (head.startswith(file.begins) or found.data.startswith(file.begins)):
        wanted = " or ".join(repr(begin) for begin in file.begins)
        return f"it begins with {head[:_SHOWN_BYTES]!r}, expected {wanted}"
    return _hash_problem(file, found, path)


def _hash_problem(file: OutsideFile, found: Beginning, path: Path | None) -> str | None:
    if file.sha256 is None:
        return None
    if path is not None and (found.size_bytes or 0) <= _HASHED_BYTES:
        digest = sha256_file(path)
    elif found.whole:
        digest = sha256(found.data).hexdigest()
    else:
        return None
    return None if digest.startswith(file.sha256.lower()) else f"sha256 {digest}, expected {file.sha256}"


def other_lists(dataset: DataSet, section: Any, named: Collection[OutsideFile]) -> Iterator[Finding]:
    """The files that a data set reads beside those that settings name one by one.

    Raises:
        PipelineError: one of them is not there, or cannot be read.
    """
    known = {file.here.resolve() for file in named if file.here is not None}
    if not all(map(Path.is_file, known)):  # that is told already
        return
    paths = [path for path in map(Path, dataset.sources(section)) if path not in known]
    size_bytes = 0
    for path in paths:
        with refusals_named(path, "read"), path.open("rb") as file:
            file.read(1)
            size_bytes += path.stat().st_size
    if paths:
        yield Finding("lists", Verdict.OK, f"{len(paths)} files of {size_text(size_bytes)} can be read")


def clock(ahead_s: list[float]) -> Finding:
    """What the clocks of servers say of this machine's.

    Args:
        ahead_s: by how many seconds each of them is ahead.
    """
    if not ahead_s:
        return Finding("clock", Verdict.OK, "not compared: no server told its time")
    apart_s = median(ahead_s)
    if abs(apart_s) <= _APART_S:
        return Finding("clock", Verdict.OK, f"within {_APART_S:.0f} s of the servers'")
    told = f"{duration_text(abs(apart_s))} {'behind' if apart_s > 0 else 'ahead of'} the servers'"
    return Finding("clock", Verdict.WARNING, told, "Set it: certificates have dates, and so have locks of other hosts")
