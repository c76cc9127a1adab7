"""Whether the packages that lie beside this one are ours. Imports none of them."""

import sys
from importlib.util import find_spec
from pathlib import Path

_NAMES = ("cli", "dags", "pipeline", "schemas")
_MARK = b"biam-pipe"  # in the first lines of each: a package that was installed over ours has it not
_TOP = Path(__file__).resolve().parents[1]


def require_own(top: Path = _TOP) -> None:
    """See that Python finds our packages under their names, which others may have, too.

    Args:
        top: the folder in which they lie.

    Raises:
        ImportError: one of them is another program's, or not there.
    """
    for name in _NAMES:
        found, ours = _found(name), top / name
        file = ours.with_suffix(".py") if name == "cli" else ours / "__init__.py"
        if found is None:
            raise ImportError(f"biam-pipe: there is no {file}, expected our own {name!r}. Install biam-pipe anew")
        if found.resolve() != file or _MARK not in file.read_bytes():
            raise ImportError(
                f"biam-pipe: {name!r} is another program's, found at {found}, expected ours at {file}. Use an "
                f"environment of its own for biam-pipe, or another name for that {name!r}"
            )


def _found(name: str) -> Path | None:
    """The file of a top-level module or package, loaded or not; its folder where it has no file of its own."""
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__spec__", None) is None:
        return Path(str(getattr(loaded, "__file__", name)))
    spec = find_spec(name)
    if spec is None:
        return None
    if spec.origin is not None:
        return Path(spec.origin)
    return Path(next(iter(spec.submodule_search_locations or ()), name))
