"""A command that a scheduler is to run: what all kinds of units know of it."""

import getpass
import os
import re
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from schemas.config import Config
from schemas.errors import PipelineError, UsageError
from schemas.section import files_named

_SPARE_S = 600  # from the end of the budget to that of the scheduler: what is under way may end, and is committed
_VARIABLES = "BIAM_PIPE_"
_CACHE = "BIAM_PIPE_CACHE"
_NOT_IN_NAMES = re.compile("[^a-z0-9-]+")  # Kubernetes takes no more, cron no dots
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Call:
    """A command as a user gives it.

    Attributes:
        verb: `run`, or the stage after which it stops.
        work: the work folder.
        config: the TOML file; None where there is none.
        sets: texts like `train.lr=1e-4`.
        time_budget: of a slice, such as "50m".
        scheduler: address of a Dask scheduler; None for the embedded cluster.
        retry_failed: failed images that are fetched again, as `--retry-failed` names them; None for none.
        replace: whether `--replace` is given.
        user: who shall run it; None for whoever asks.
        environment: all variables of whoever asks.
    """

    verb: str
    work: Path
    config: Path | None
    sets: Sequence[str]
    time_budget: str
    scheduler: str | None = None
    retry_failed: str | None = None
    replace: bool = False
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def words(self, dataset: str) -> Iterator[str]:
        """All that stands behind the program's name, with whole paths: a scheduler starts elsewhere."""
        yield from (self.verb, "--dataset", dataset, "--work", str(self.work.resolve()))
        if self.config is not None:
            yield from ("--config", str(self.config.resolve()))
        for text in self.sets:
            yield from ("--set", text)
        if self.scheduler is not None:
            yield from ("--scheduler", self.scheduler)
        if self.retry_failed is not None:
            yield f"--retry-failed={self.retry_failed}"
        if self.replace:
            yield "--replace"
        yield from ("--time-budget", self.time_budget)


@dataclass(frozen=True)
class Job:
    """A command line, and where it runs.

    Attributes:
        name: of the units.
        program: the path of biam-pipe.
        arguments: all that follows it.
        folder: in which it runs: relative paths in settings count from it.
        work: the work folder.
        budget_s: seconds of `--time-budget`.
        wants_gpu: whether a device is one for certain.
        may_use_gpu: whether a device is one where there is one.
        version: of biam-pipe.
        asked_user: who shall run it; None for whoever asks.
        cache: where fetched files are kept for all work folders; None: where the scheduler has a place for that.
        config: the TOML file; None where there is none.
        outside: files and folders that settings name.
        environment: variables that carry settings.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    folder: Path
    work: Path
    budget_s: float
    wants_gpu: bool
    may_use_gpu: bool
    version: str
    asked_user: str | None = None
    cache: Path | None = None
    config: Path | None = None
    outside: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> tuple[str, ...]:
        """Program and arguments."""
        return (self.program, *self.arguments)

    @property
    def user(self) -> str:
        """Who runs it.

        Raises:
            UsageError: that would be root, somebody without a name, or no name.
        """
        user = _own_name() if self.asked_user is None else self.asked_user
        if user in ("root", "0", None) or not _USER.fullmatch(user):
            raise UsageError(
                "units run as a user without further rights;",
                got=repr(user),
                expected="a name that is not root",
                hint="Add --user NAME, of one who owns the work folder",
            )
        return user

    @property
    def config_text(self) -> str:
        """What the TOML file says."""
        return "" if self.config is None else self.config.read_text(encoding="utf-8-sig")

    @property
    def writable(self) -> tuple[Path, ...]:
        """Folders in which it writes."""
        return (self.work, *([self.cache] if self.cache is not None else []))

    @property
    def places(self) -> tuple[Path, ...]:
        """All that it reads or writes but its own code."""
        return (self.folder, *self.writable, *([self.config] if self.config is not None else []), *self.outside)

    @property
    def mounts(self) -> tuple[Path, ...]:
        """Folders and files that have to be where it runs, without those that lie in another of them.

        The TOML file travels by itself.
        """
        every = {self.folder, *self.writable, *self.outside}
        return tuple(sorted(place for place in every if every.isdisjoint(place.parents)))

    @property
    def private_tmp(self) -> bool:
        """Whether it can do without the machine's folders for temporary files: nothing that it needs lies there."""
        return not any(file.is_relative_to(folder) for file in self.places for folder in ("/tmp", "/var/tmp"))  # noqa: S108

    @property
    def limit_minutes(self) -> int:
        """Minutes after which a scheduler may end it: the budget, and time to finish what is under way."""
        return -int(-(self.budget_s + _SPARE_S) // 60)


def job(config: Config, call: Call, budget_s: float) -> Job:
    """The job of a command whose settings were checked.

    Args:
        budget_s: seconds of its time budget.

    Raises:
        PipelineError: biam-pipe is not installed where its Python is.
    """
    devices = [config.extract.device, config.train.device, config.evaluate.device]
    cache = Path(call.environment[_CACHE]).resolve() if call.environment.get(_CACHE) else None
    environment = {name: value for name, value in call.environment.items() if name.startswith(_VARIABLES)}
    name = "-".join(("biam-pipe", config.dataset.name, *([] if call.verb == "run" else [call.verb])))
    return Job(
        name=_NOT_IN_NAMES.sub("-", name.lower()),
        program=_program(),
        arguments=tuple(call.words(config.dataset.name)),
        folder=Path.cwd(),
        work=call.work.resolve(),
        budget_s=budget_s,
        wants_gpu=any(device.startswith("cuda") for device in devices),
        may_use_gpu=any(device != "cpu" for device in devices),
        version=version("biam-pipe"),
        asked_user=call.user,
        cache=cache,
        config=None if call.config is None else call.config.resolve(),
        outside=tuple(_outside(config)),
        environment=environment | ({} if cache is None else {_CACHE: str(cache)}),
    )


def _outside(config: Config) -> Iterator[Path]:
    """Files and folders of this machine that settings name: what is a path there, and not the name of something."""
    for text in files_named(config):
        place = Path(text).expanduser()
        if text and place.exists():
            yield Path(os.path.abspath(place))  # noqa: PTH100 - links stay: the command goes by the name that it has


def _program() -> str:
    path = Path(sysconfig.get_path("scripts"), "biam-pipe")
    if not path.is_file():
        raise PipelineError(f"units: there is no {path}", expected="the command as pip installs it")
    return str(path)


def _own_name() -> str | None:
    if os.getuid() == 0:
        return "root"
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number alone, as in a container
        return None
