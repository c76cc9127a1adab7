"""From defaults, presets, a dag, a TOML file, the environment and the command line to one checked configuration.

Precedence: defaults < preset < dag < TOML < environment < `--set` < flags.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dags import DAGS
from dags.presets import PRESETS
from pipeline.settings.mistakes import explain
from schemas.config import Config
from schemas.errors import UsageError

DEFAULT_FILE = "biam-pipe.toml"
ENVIRONMENT_PREFIX = "BIAM_PIPE_"
Layer = Mapping[str, Any]


def configuration(
    dataset: str | None, file: Path | None, environment: Mapping[str, str], sets: Iterable[str], work: Path
) -> Config:
    """The configuration of a run.

    Args:
        dataset: of the flag; else the one the other layers name, else the only one in the work folder.
        file: TOML file; None for `biam-pipe.toml` if it is there.
        environment: variables like `BIAM_PIPE_TRAIN__LR=1e-4`.
        sets: texts like `train.lr=1e-4`.
        work: the work folder, looked into only where nothing names a data set.

    Raises:
        UsageError: an unknown key, name or value; the text suggests the nearest.
    """
    user = _merged(_file_layer(file), _environment_layer(environment), _set_layer(sets))
    name = dataset or user.get("dataset", {}).get("name") or _only_dataset(work)
    settings: Layer = DAGS.load(name).SETTINGS
    chosen = {"name": "biam", "preset": "released"} | settings.get("model", {}) | user.get("model", {})
    preset, own = _preset(name, chosen["name"], chosen["preset"])
    merged = _merged(preset, settings, own, user, {"dataset": {"name": name}})
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise explain(error) from error


def as_toml(config: Config) -> str:
    """All settings as a TOML file.

    What the preset gives and what is not set stand in comments: as keys they would outrank another preset later.
    """
    import tomli_w

    chosen = (config.model.name, config.model.preset)
    presets = _merged(*_preset(config.dataset.name, *chosen))
    settings: dict[str, dict[str, Any]] = config.model_dump(mode="json")
    preset = {
        section: {
            key: settings[section].pop(key)
            for key, value in keys.items()
            if value is not None and settings[section][key] == value
        }
        for section, keys in presets.items()
    }
    unset = [f"{section}.{key}" for section, keys in settings.items() for key, value in keys.items() if value is None]
    given = "".join(f"# {line}\n" for line in tomli_w.dumps(preset).splitlines() if line)
    text = tomli_w.dumps(
        {
            section: {key: value for key, value in keys.items() if value is not None}
            for section, keys in settings.items()
        }
    )
    return f"{text}\n# From preset {chosen[1]!r}; a key above would outrank it:\n{given}# Not set: {', '.join(unset)}"


def _preset(dataset: str, model: str, preset: str) -> tuple[Layer, Layer]:
    """What a preset is on every data set, and what it is on this one (which outranks the dag's other settings)."""
    chosen = (model, preset)
    return PRESETS.get(chosen, {}), getattr(DAGS.load(dataset), "PRESETS", {}).get(chosen, {})


def _merged(*layers: Layer) -> dict[str, Any]:
    """All layers in one, each over the ones before it."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer)
    return merged


def _merge(low: Layer, high: Layer) -> dict[str, Any]:
    """Both, the second over the first, section by section."""
    merged = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _file_layer(file: Path | None) -> dict[str, Any]:
    path = file or Path(DEFAULT_FILE)
    if file is None and not path.exists():
        return {}
    try:
        layer = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    loose = [key for key, value in layer.items() if not isinstance(value, dict)]
    if loose:
        sections = ", ".join(Config.model_fields)
        raise UsageError(f"{path}: {loose[0]!r} stands outside a section", hint=f"Sections: {sections}")
    return layer


def _environment_layer(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name
    }
    return _set_layer(f"{key}={value}" for key, value in found.items())


def _set_layer(sets: Iterable[str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (equals and dot and section and name):
            raise UsageError("--set wants section.key=value", got=repr(text), hint="Example: --set train.lr=0.0002")
        nested: Any = _value(value.strip())
        for part in reversed(name.split(".")):
            nested = {part: nested}
        layer = _merge(layer, {section: nested})
    return layer


def _value(text: str) -> Any:
    """A TOML value; a bare word is a string, and null is no value, which TOML cannot say."""
    if text == "null":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _only_dataset(work: Path) -> str:
    found = sorted(path.name for path in work.iterdir() if path.name in set(DAGS)) if work.is_dir() else []
    if len(found) == 1:
        return found[0]
    here = f"{work} holds {', '.join(found)}" if found else f"{work} holds none"
    raise UsageError(f"no data set chosen: {here}", hint=f"Use --dataset NAME with one of: {', '.join(DAGS)}")
