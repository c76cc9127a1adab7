"""The options that lead from a command line to a configuration: those that all commands have."""

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.machine.quiet import hush

if TYPE_CHECKING:
    from schemas.comparison import ComparisonSettings
    from schemas.config import Config

DatasetOption = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Data set; see `show datasets`.")]
WorkOption = Annotated[Path, typer.Option("--work", metavar="DIR", help="Work folder.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; biam-pipe.toml if it is there.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, as section.key=value; repeatable.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Tracebacks with errors.")]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no warnings on stderr.")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="A line for each task that ends, on stderr.")]

_VALUES = ("--dataset", "--work", "--config", "--set")  # options that all commands have, with a value behind them
_SHORT = re.compile("-[qv]+")  # several in one
_FLAGS = ("--json", "--debug", "-q", "--quiet", "-v", "--verbose")


@dataclass(frozen=True)
class Where:
    """The options that say which settings and which folder, and how much is told meanwhile."""

    dataset: str | None
    work: Path
    config: Path | None
    sets: list[str]
    quiet: bool = False
    verbose: bool = False

    def load(self) -> "Config":
        """The configuration they lead to."""
        from pipeline.files.storage import require_local
        from pipeline.settings.layers import configuration

        require_local(self.work, "--work")
        return configuration(self.dataset, self.config, os.environ, self.sets, self.work)

    def file(self) -> Path | None:
        """The TOML file that counts; None where there is none."""
        from pipeline.settings.layers import DEFAULT_FILE

        usual = Path(DEFAULT_FILE)
        return self.config or (usual if usual.exists() else None)

    def comparison(self) -> "ComparisonSettings":
        """The rows of a comparison that they lead to."""
        from pipeline.files.storage import require_local
        from pipeline.settings.comparison import comparison
        from pipeline.settings.layers import user_layers

        require_local(self.work, "--work")
        return comparison(user_layers(self.dataset, self.config, os.environ, self.sets, self.work))


_WHERE_OPTIONS = [
    Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, default, annotation in (
        ("dataset", None, DatasetOption),
        ("work", Path("work"), WorkOption),
        ("config", None, ConfigOption),
        ("sets", None, SetOption),
        ("as_json", False, JsonOption),
        ("quiet", False, QuietOption),
        ("verbose", False, VerboseOption),
        ("debug", False, DebugOption),
    )
]


def rearranged(arguments: Sequence[str], groups: Collection[str]) -> list[str]:
    """The arguments with the options that all commands have behind the verb, wherever they were typed before it.

    Args:
        groups: verbs that another verb follows, such as `show`.
    """
    moved: list[str] = []
    rest = list(arguments)
    kept: list[str] = []
    verbs = 1
    while rest and verbs:
        word = rest.pop(0)
        option, equals, _ = word.partition("=")
        if option in _VALUES:
            moved += [word] if equals else [word, *rest[:1]]
            del rest[: 0 if equals else 1]
        elif word in _FLAGS or _SHORT.fullmatch(word):
            moved.append(word)
        else:
            kept.append(word)
            verbs += (word in groups) - (not word.startswith("-"))
    end = rest.index("--") if "--" in rest else len(rest)
    return [*kept, *rest[:end], *moved, *rest[end:]]


def with_common_options(command: Callable[..., None], without: Collection[str] = ()) -> Callable[..., None]:
    """Give a command the options that all have; it gets them as `where` and `as_json`.

    Args:
        without: options of its own that it is not to have; it gets their defaults.
    """
    own = [
        parameter
        for name, parameter in signature(command, eval_str=True).parameters.items()
        if (parameter.default is not Parameter.empty or parameter.annotation is typer.Context) and name not in without
    ]

    @wraps(command)
    def wrapper(
        dataset: str | None,
        work: Path,
        config: Path | None,
        sets: list[str] | None,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        debug: bool,
        **rest: object,
    ) -> None:
        del debug  # read by main, which decides how errors are shown
        hush(quiet=quiet)
        command(Where(dataset, work, config, sets or [], quiet or as_json, verbose), as_json, **rest)

    parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own] + _WHERE_OPTIONS
    wrapper.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper
