"""Names to modules, imported only when asked for, so that listing what exists costs nothing.

A name is ours, in the room's registry, or comes with an installed distribution, as an entry point of the room's group.
"""

import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from difflib import get_close_matches
from functools import cache, cached_property, partial
from hashlib import sha256
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.guarded import Guarded
from schemas.errors import UsageError, unknown_name

Contract = TypeVar("Contract")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # of what becomes part of paths and settings
_log = logging.getLogger("biam_pipe.registry")


class Registry(Generic[Contract]):
    """What one room offers: a name for each module, each with what the room's contract asks for.

    Args:
        kind: what the names are, for error texts ("backbone").
        modules: name -> dotted path of its module, of what is ours.
        contract: a Protocol, whose attributes and methods are those of the modules.
        room: of the group of entry points, biam_pipe.<room>, in which distributions offer more.
        optional: a Protocol of what a module may have, too; what is there has to be like it.
        trial: dotted path of the module whose `trial` runs a thing that is not ours on a made-up sample, and says what
            is wrong with it, or None: a contract says nothing of what functions give back.
        families: of `modules`, those that stand for many things: what a name says behind `module:`, for lists.
    """

    def __init__(
        self,
        kind: str,
        modules: Mapping[str, str],
        contract: type,
        room: str,
        *,
        optional: type | None = None,
        trial: str | None = None,
        families: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.room = room
        self.contract = contract
        self.optional = optional
        self.ours = dict(modules)
        self.families = dict(families or {})
        self._trial = trial
        self._checked = cache(self._load)

    def __iter__(self) -> Iterator[str]:
        listed = (f"{name}:{self.families[name]}" if name in self.families else name for name in self.ours)
        return iter(sorted((*listed, *self._theirs)))

    def __contains__(self, name: str) -> bool:
        return self._is_ours(name) or name in self._theirs

    def _is_ours(self, name: str) -> bool:
        family, _, member = name.partition(":")
        return bool(member) if family in self.families else name in self.ours

    def require(self, name: str) -> None:
        """Do nothing where the name is known; its module is not imported.

        Raises:
            UsageError: no such name; the text suggests the nearest.
        """
        if name not in self:
            family, _, member = name.partition(":")
            alone = self.ours.keys() - self.families.keys()
            near = [] if family.lower() in alone else get_close_matches(family.lower(), self.families, n=1)
            raise unknown_name(
                self.kind, name, list(self), f"{near[0]}:{member or self.families[near[0]]}" if near else None
            )

    def load(self, name: str) -> Contract:
        """The module behind a name.

        Raises:
            UsageError: no such name, with the nearest one; or a module that cannot be imported, is without what the
                room's contract asks for, or fails its trial. A function of one that is not ours raises it, too, in the
                place of what a pipeline does not know.
        """
        self.require(name)
        return self._checked(name)

    def recipe(self, name: str) -> dict[str, str]:
        """What a thing that is not ours adds to the recipe of a stage that runs it; nothing where it is ours.

        That is where it comes from, and the hash of its module's text, or of all modules of its folder.

        Raises:
            UsageError: as `load`.
        """
        if self._is_ours(name):
            return {}
        self.load(name)
        (point,) = self._theirs[name]
        text = _text_hash(import_module(point.module))
        return {f"{self.room}.distribution": _offered_by(point), f"{self.room}.sha256": text}

    @cached_property
    def _theirs(self) -> Mapping[str, Sequence[EntryPoint]]:
        """What installed distributions offer, by name. Looking through them takes 20 ms: not done for names of ours."""
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=f"biam_pipe.{self.room}"):
            if not _NAME.fullmatch(point.name):
                _log.warning("%s %r of %s is not used: no name", self.kind, point.name, _offered_by(point))
            elif point.name in self.ours:
                _log.warning("%s %r of %s is not used: the name is ours", self.kind, point.name, _offered_by(point))
            else:
                found.setdefault(point.name, []).append(point)
        return found

    def _load(self, name: str) -> Contract:
        ours = self._is_ours(name)
        thing = import_module(self.ours[name.partition(":")[0]]) if ours else self._load_theirs(name)
        problem = unfulfilled(thing, self.contract)
        if problem is None and self.optional is not None:
            problem = unfulfilled(thing, self.optional, only_there=True)
        if problem is not None:
            raise self.refusal(name, f"it {problem}")
        if ours:
            return cast("Contract", thing)
        guarded = Guarded(thing, partial(self.refusal, name))
        if self._trial is not None:
            self.tried(name, partial(import_module(self._trial).trial, guarded))
        return cast("Contract", guarded)

    def tried(self, name: str, trial: Callable[[], str | None]) -> None:
        """Run a trial of something that is not ours; tests try what is.

        Raises:
            UsageError: it says that something is wrong, or raises anything else than such an error.
        """
        if self._is_ours(name):
            return
        try:
            problem = trial()
        except UsageError:
            raise
        except Exception as error:  # whatever happens in a stranger's code
            raise self.refusal(name, f"tried on a sample it raises {type(error).__name__}: {error}") from error
        if problem is not None:
            raise self.refusal(name, f"tried on a sample it {problem}")

    def refusal(self, name: str, problem: str) -> UsageError:
        """That a thing is not what its room asks for."""
        told = f"{self.contract.__module__}.{self.contract.__name__} says what it has to have"
        return UsageError(f"{self.kind} {name!r} of {self.whose(name)}: {problem}", hint=told)

    def whose(self, name: str) -> str:
        """The distribution that a name comes with, with its version."""
        return "biam-pipe" if self._is_ours(name) else _offered_by(self._theirs[name][0])

    def _load_theirs(self, name: str) -> ModuleType:
        point, *others = self._theirs[name]
        if others:
            both = " and ".join(map(_offered_by, (point, *others)))
            raise UsageError(f"{self.kind} {name!r} comes with {both}, expected one of them. Uninstall the other")
        try:
            with redirect_stdout(sys.stderr):  # which is for what a command says
                thing: ModuleType = point.load()
        except (Exception, SystemExit) as error:  # whatever happens in a stranger's code
            text = f"{point.value} cannot be imported ({type(error).__name__}: {error})"
            raise self.refusal(name, text) from error
        return thing


def _offered_by(point: EntryPoint) -> str:
    """The distribution of an entry point, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "no distribution"


def _text_hash(module: ModuleType) -> str:
    """Hash of a module's file; of a package, of all modules below its folder, with their names."""
    assert module.__file__ is not None, "a module of a distribution has a file"
    file = Path(module.__file__)
    if not hasattr(module, "__path__"):
        return sha256(file.read_bytes()).hexdigest()
    texts = {path.relative_to(file.parent).as_posix(): path.read_bytes() for path in file.parent.rglob("*.py")}
    return fingerprint({name: sha256(text).hexdigest() for name, text in texts.items()})


def attributes(contract: type) -> list[str]:
    """Names of what a contract asks for beside functions."""
    properties = inspect.getmembers(contract, lambda member: isinstance(member, property))
    return [*inspect.get_annotations(contract), *(name for name, _ in properties)]


def functions(contract: type) -> dict[str, Callable[..., Any]]:
    """The functions that a contract asks for, by name."""
    return {name: one for name, one in inspect.getmembers(contract, inspect.isfunction) if not name.startswith("_")}


def unfulfilled(thing: Any, contract: type, *, only_there: bool = False) -> str | None:
    """What a module or an object lacks of a contract, in words; None where it has everything.

    Args:
        only_there: nothing has to be there, but what is has to be like the contract.
    """
    for name in attributes(contract):
        if not hasattr(thing, name) and not only_there:
            return f"has no {name}"
    for name, asked in functions(contract).items():
        if only_there and not hasattr(thing, name):
            continue
        if not callable(found := getattr(thing, name, None)):
            return f"has no function {name}"
        if not _takes(found, asked):
            return f"has {name}{inspect.signature(found)}, expected the arguments of {name}{_shown(asked)}"
    return None


def _takes(found: Callable[..., Any], asked: Callable[..., Any]) -> bool:
    """Whether a function can be called as the one of the contract is, less `self`."""
    _, *parameters = inspect.signature(asked).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    try:
        taken = inspect.signature(found)
    except ValueError:  # one written in C may not say
        return True
    try:
        taken.bind(*parameters[: len(parameters) - len(named)], **dict.fromkeys(named))
    except TypeError:
        return False
    return True


def _shown(asked: Callable[..., Any]) -> str:
    _, *parameters = inspect.signature(asked).parameters
    return f"({', '.join(parameters)})"
