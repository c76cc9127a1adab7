"""Names to modules, imported only when asked for, so that listing what exists costs nothing."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from schemas.errors import UsageError, unknown_name

Contract = TypeVar("Contract")


class Registry(Generic[Contract]):
    """What one room offers: a name for each module, each with what the room's contract asks for.

    Args:
        kind: what the names are, for error texts ("backbone").
        modules: name -> dotted path of its module.
        contract: a Protocol, whose attributes and methods are those of the modules.
    """

    def __init__(self, kind: str, modules: Mapping[str, str], contract: type) -> None:
        self.kind = kind
        self._modules = dict(modules)
        self._contract = contract
        self._checked = cache(self._load)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._modules))

    def require(self, name: str) -> None:
        """Do nothing where the name is known; its module is not imported.

        Raises:
            UsageError: no such name; the text suggests the nearest.
        """
        if name not in self._modules:
            raise unknown_name(self.kind, name, self._modules)

    def load(self, name: str) -> Contract:
        """The module behind a name.

        Raises:
            UsageError: no such name, with the nearest one; or a module without what the room's contract asks for.
        """
        self.require(name)
        return self._checked(name)

    def _load(self, name: str) -> Contract:
        module = import_module(self._modules[name])
        if (problem := unfulfilled(module, self._contract)) is not None:
            raise UsageError(
                f"{self.kind} {name!r}: its module {module.__name__} {problem}",
                hint=f"{self._contract.__module__}.{self._contract.__name__} says what it has to have",
            )
        return cast("Contract", module)


def unfulfilled(module: ModuleType, contract: type) -> str | None:
    """What a module lacks of a contract, in words; None where it has everything."""
    for name in inspect.get_annotations(contract):
        if not hasattr(module, name):
            return f"has no {name}"
    for name, asked in inspect.getmembers(contract, inspect.isfunction):
        if name.startswith("_"):
            continue
        if not callable(found := getattr(module, name, None)):
            return f"has no function {name}"
        if not _takes(found, asked):
            return f"has {name}{inspect.signature(found)}, expected the arguments of {name}{_shown(asked)}"
    return None


def _takes(found: Callable[..., Any], asked: Callable[..., Any]) -> bool:
    """Whether a function can be called as the one of the contract is, less `self`."""
    _, *parameters = inspect.signature(asked).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    try:
        inspect.signature(found).bind(*parameters[: len(parameters) - len(named)], **dict.fromkeys(named))
    except TypeError:
        return False
    return True


def _shown(asked: Callable[..., Any]) -> str:
    _, *parameters = inspect.signature(asked).parameters
    return f"({', '.join(parameters)})"
