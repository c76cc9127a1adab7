"""Files for the schedulers of a machine or a cluster that run a command again and again: what `show units` prints.

Each kind is a template or several beside this module. They say the exit codes of biam-pipe in the scheduler's words: 0
and 3 are a success, 75 means "go on", 5 that another run is at work there, all else is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from dags.units.job import Call, Job, job
from dags.units.quoting import (
    in_comment,
    kubernetes_argument,
    require_text,
    shell,
    systemd,
    systemd_argument,
    systemd_line,
    yaml,
)
from pipeline.files.storage import users_folder
from schemas.config import Config
from schemas.errors import unknown_name

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Call", "Job", "Unit", "units", "write"]


@dataclass(frozen=True)
class Unit:
    """A file for a scheduler.

    Attributes:
        name: of the file.
        text: that is in it; a comment at its beginning says where it goes.
        executable: whether it is a program.
    """

    name: str
    text: str
    executable: bool = False


@dataclass(frozen=True)
class _Template:
    """A file of this folder, and what becomes of it.

    Attributes:
        file: its name here.
        ending: of the unit's name, behind that of the job.
    """

    file: str
    ending: str
    executable: bool = False


KINDS: Mapping[str, tuple[_Template, ...]] = {
    "systemd": (_Template("systemd.service", ".service"), _Template("systemd.timer", ".timer")),
    "cron": (_Template("cron.sh", "", executable=True), _Template("cron.crontab", ".crontab")),
    "slurm": (_Template("slurm.sbatch", ".sbatch", executable=True),),
    "kubernetes": (_Template("kubernetes.yaml", ".yaml"),),
}


def units(kind: str, config: Config, call: Call, budget_s: float) -> list[Unit]:
    """The files of one kind of scheduler for a command.

    Args:
        budget_s: seconds of its time budget.

    Raises:
        UsageError: no such kind, a name that it cannot hold, or the user is root where a unit names one.
        PipelineError: biam-pipe is not installed.
    """
    if kind not in KINDS:
        raise unknown_name("kind of units", kind, KINDS)
    found, templates = job(config, call, budget_s), _environment()
    require_text((*found.command, *found.places, *chain.from_iterable(found.environment.items())))
    return [
        Unit(found.name + template.ending, templates.get_template(template.file).render(job=found), template.executable)
        for template in KINDS[kind]
    ]


def write(made: Sequence[Unit], folder: Path) -> list[str]:
    """Leave files in a user's folder, which is made if need be; their paths.

    Raises:
        UsageError: it is a file, or an address.
        PipelineError: nothing can be written there.
    """
    storage = users_folder(folder, "show units")
    for unit in made:
        storage.write(unit.name, unit.text.encode())
        if unit.executable:
            (folder / unit.name).chmod(0o755)
    return [storage.shown(unit.name) for unit in made]


def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("dags", "units"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML: each format has a filter of its own
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (in_comment, kubernetes_argument, shell, systemd, systemd_argument, systemd_line, yaml)
    found.filters |= {quote.__name__: quote for quote in filters}
    return found
