"""Paths that a TOML file names: they count from its folder, wherever the command runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.config import Config
from schemas.errors import UsageError
from schemas.section import Names, prefixed


def located(layer: Mapping[str, Any], shape: type[Config], file: Path) -> dict[str, Any]:
    """The settings of a TOML file as seen from the folder that the command runs in.

    What names no file there may be the name of published weights, or one that is told to be missing later.

    Raises:
        UsageError: a file is not where the TOML says, but would be where the command runs.
    """
    folder = file.parent
    if folder.resolve() == Path.cwd():
        return dict(layer)
    found = {}
    for section, values in layer.items():
        fields = (
            getattr(shape.model_fields[section].annotation, "model_fields", {}) if section in shape.model_fields else {}
        )
        paths = {key for key, field in fields.items() if Names.FILES in field.metadata}
        found[section] = {
            key: _each(f"{section}.{key}", value, file) if key in paths else value for key, value in values.items()
        }
    return found


def _each(key: str, value: Any, file: Path) -> Any:
    """A path, each of a list, or each of a table."""
    if isinstance(value, str):
        return _from_here(key, value, file)
    if isinstance(value, list):
        return [_each(key, item, file) for item in value]
    if isinstance(value, dict):
        return {name: _each(f"{key}.{name}", item, file) for name, item in value.items()}
    return value


def _from_here(key: str, text: str, file: Path) -> str:
    prefix, path = prefixed(text)
    if "://" in path or Path(path).expanduser().is_absolute():
        return text
    beside = file.parent / path
    if beside.exists():
        return f"{prefix}{os.path.relpath(beside)}"
    if Path(path).exists():
        raise UsageError(
            f"setting {key} in {file}: there is no {beside}, but a {Path(path).resolve()}; paths in a TOML file count "
            "from its folder",
            hint=f"Write {os.path.relpath(Path(path).resolve(), file.parent.resolve())!r}",
        )
    return text
