"""Names to modules, imported only when asked for, so that listing what exists costs nothing."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType

from schemas.errors import unknown_name


class Registry:
    """What one room offers: a name for each module, each module with the same entry points.

    Args:
        kind: what the names are, for error texts ("backbone").
        modules: name -> dotted path of its module.
    """

    def __init__(self, kind: str, modules: Mapping[str, str]) -> None:
        self.kind = kind
        self._modules = dict(modules)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._modules))

    def require(self, name: str) -> None:
        """Do nothing where the name is known; its module is not imported.

        Raises:
            UsageError: no such name; the text suggests the nearest.
        """
        if name not in self._modules:
            raise unknown_name(self.kind, name, self._modules)

    def load(self, name: str) -> ModuleType:
        """The module behind a name.

        Raises:
            UsageError: no such name; the text suggests the nearest.
        """
        self.require(name)
        return import_module(self._modules[name])
