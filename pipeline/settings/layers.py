"""From defaults, presets, a dag, a TOML file, the environment and the command line to one checked configuration.

Precedence: defaults < preset < dag < TOML < environment < `--set` < flags.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

from pydantic import ValidationError, create_model

from dags import dag
from pipeline.datasets import DATASETS
from pipeline.models import MODELS
from pipeline.models.contract import in_vain, presets
from pipeline.settings.mistakes import explain
from pipeline.settings.paths import located
from pipeline.vectors import source
from schemas.command import Command
from schemas.config import Config, ModelSection
from schemas.errors import UsageError
from schemas.section import explanations

DEFAULT_FILE = "biam-pipe.toml"
ENVIRONMENT_PREFIX = "BIAM_PIPE_"
Layer = Mapping[str, Any]

_DEEPEST = 8  # levels of a key below its section
# Of a key of n parts tomllib keeps all n beginnings: 50,000 parts took 15 GB.
_ENDLESS_KEY = re.compile(r"""(?<![\w-])(?:(?:"[^"\n]*+"|'[^'\n]*+'|[\w-]++)[ \t]*+\.[ \t]*+){64}""")
_SHOWN = 60  # characters of what cannot be read
_WIDTH = 100  # of a line of comment


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
    try:
        return checked(user_layers(dataset, file, environment, sets, work))
    except RecursionError as error:
        raise UsageError("the settings are nested too deeply", expected="section.key = value") from error


@dataclass(frozen=True)
class Layers:
    """What a user says, by where it is said.

    Attributes:
        dataset: name of the data set.
        file: the TOML file that was named; paths in it count from its folder.
        written: what it says.
        typed: what the environment and `--set` say, which counts more.
    """

    dataset: str
    file: Path | None
    written: Layer
    typed: Layer

    def below_typed(self, layer: Layer) -> "Layers":
        """These, with another layer between the file and what is typed."""
        return replace(self, written=merged(self.written, layer))


def user_layers(
    dataset: str | None, file: Path | None, environment: Mapping[str, str], sets: Iterable[str], work: Path
) -> Layers:
    """What a user says, with the data set chosen; the arguments are those of `configuration`.

    Raises:
        UsageError: what is said cannot be read, or no data set is chosen.
    """
    written, typed = _file_layer(file), merged(_environment_layer(environment), _set_layer(sets))
    user = merged(written, typed)
    name = _text("dataset.name", dataset or user.get("dataset", {}).get("name") or _only_dataset(work))
    model, _ = _chosen_model(name, user.get("model", {}))
    _refuse_misspelt(environment, config_class(name, model))
    return Layers(name, file, written, typed)


def checked(layers: Layers, own: Layer | None = None, *, lenient: bool = False) -> Config:
    """The configuration that layers lead to.

    Args:
        own: another layer, over all others.
        lenient: take settings that the model does not read.

    Raises:
        UsageError: an unknown key, name or value; the text suggests the nearest.
    """
    name, own = layers.dataset, own or {}
    user = merged(layers.written, layers.typed, own)
    model, preset = _chosen_model(name, user.get("model", {}))
    below, shape = merged({"model": {"preset": preset}}, _below_user(name, model, preset)), config_class(name, model)
    if layers.file is not None:
        user = merged(located(layers.written, shape, layers.file), layers.typed, own)
    chosen = {"dataset": {"name": name}, "model": {"name": model}}
    try:
        config = shape.model_validate(merged(below, user, chosen))
        if not lenient:
            usual = merged(below, chosen, {"dataset": user.get("dataset", {})})
            _refuse_in_vain(config, user, shape.model_validate(usual))
    except ValidationError as error:
        raise explain(error, shape) from error
    return config


@cache
def config_class(dataset: str, model: str) -> type[Config]:
    """The configuration with the sections of a data set and a model as their modules have them.

    Raises:
        UsageError: no such data set or model.
    """
    section = MODELS.load(model).SETTINGS
    of_data_set, of_model = (DATASETS.load(dataset).SETTINGS, ...), (section, section())
    return create_model("Config", __base__=Config, __doc__=Config.__doc__, dataset=of_data_set, model=of_model)


def _chosen_model(dataset: str, user: Layer) -> tuple[str, str]:
    """Name and preset; a preset that is no text is refused later, with the others."""
    chosen = {"name": ModelSection().name} | dag(dataset).SETTINGS.get("model", {}) | user
    name = _text("model.name", chosen["name"])
    usual = getattr(dag(dataset), "PRESET", "")
    if usual not in presets(MODELS.load(name)):
        usual = config_class(dataset, name).model_fields["model"].default.preset
    preset = chosen.get("preset", usual)
    return name, preset if isinstance(preset, str) else usual


def _text(key: str, value: Any) -> str:
    """A name by which settings are looked up, before the others can be checked."""
    if not isinstance(value, str):
        raise UsageError(f"setting {key}:", got=repr(value), expected="a text")
    return value


def _refuse_in_vain(config: Config, user: Layer, without: Config) -> None:
    """Refuse what a user sets although the model does not read it.

    Args:
        without: the configuration without the user's model and training: a value as it is there may be said.

    Raises:
        UsageError: a setting is not read, and has another value.
    """
    for key, reason in (in_vain(MODELS.load(config.model.name), config) | source.in_vain(config.embed)).items():
        section, _, name = key.partition(".")
        got, usual = (getattr(getattr(one, section), name) for one in (config, without))
        if name in user.get(section, {}) and got != usual:
            raise UsageError(
                f"setting {key}: got {got!r}, {reason};",
                expected=repr(usual),
                hint="Use:",
                run=Command(sets={key: usual}),
            )


def as_toml(config: Config) -> str:
    """All settings as a TOML file, each below what it means.

    What the preset gives and what is not set stand in comments: as keys they would outrank another preset later.
    """
    given_by_presets = _of_presets(config)
    lines = _comment(
        f"Settings of data set {config.dataset.name!r}. In comments stand those that preset {config.model.preset!r} "
        "gives here, and those that are not set (null): as keys they would outrank another preset."
    )
    for name, section in config:
        said, values = explanations(type(section)), section.model_dump(mode="json")
        lines += ["", "", *_comment(str(section.__doc__)), f"[{name}]"]
        for key in sorted(values, key=lambda key: isinstance(values[key], dict)):  # a table takes in what follows it
            given = values[key] is None or values[key] == given_by_presets.get(name, {}).get(key)
            assigned = _assigned(name, key, values[key])
            lines += ["", *_comment(said[key]), *(f"# {line}" if given else line for line in assigned)]
    unset = [f"{name}.{key}" for name, section in config for key, value in section if value is None]
    return "\n".join([*lines, "", "", *_comment(f"Not set: {', '.join(unset)}")])


def _of_presets(config: Config) -> dict[str, Layer]:
    """What stands here without a user, of all that some preset of the model gives."""
    name, model = config.dataset.name, config.model.name
    of_data_set = getattr(dag(name), "PRESETS", {}).items()
    every = merged(*presets(MODELS.load(model)).values(), *(layer for (of, _), layer in of_data_set if of == model))
    here = merged(
        {section: config_class(name, model).model_fields[section].default.model_dump(mode="json") for section in every},
        _below_user(name, model, config.model.preset),
    )
    return {section: {key: here[section][key] for key in keys} for section, keys in every.items()}


def _assigned(section: str, key: str, value: Any) -> list[str]:
    """A setting as lines of its section."""
    import tomli_w

    if value is None:  # TOML has no word for it
        return [f"{key} = null"]
    return tomli_w.dumps({section: {key: value}} if isinstance(value, dict) else {key: value}).splitlines()


def _comment(text: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _below_user(dataset: str, model: str, preset: str) -> dict[str, Any]:
    """A preset, the data set's settings over it, and over them what the preset is on that data set."""
    own, of_model = dag(dataset), presets(MODELS.load(model))
    of_data_set = getattr(own, "PRESETS", {})
    return merged(of_model.get(preset, {}), own.SETTINGS, of_data_set.get((model, preset), {}))


def merged(*layers: Layer) -> dict[str, Any]:
    """All layers in one, each over the ones before it."""
    result: dict[str, Any] = {}
    for layer in layers:
        result = _merge(result, layer)
    return result


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
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
        if _ENDLESS_KEY.search(text):
            raise UsageError(f"{path}: a key is nested too deeply", expected="section.key = value")
        layer = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: its values are nested too deeply") from error
    except ValueError as error:  # no UTF-8, no TOML, or a number of thousands of digits
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


def _refuse_misspelt(environment: Mapping[str, str], shape: type[Config]) -> None:
    """Refuse a variable that would be a setting with two underscores: it would count for nothing, in silence.

    Raises:
        UsageError: there is one; the text spells it.
    """
    for variable in environment:
        section, _, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" in variable or section not in shape.model_fields:
            continue
        kind: Any = shape.model_fields[section].annotation
        if near := get_close_matches(name, kind.model_fields, n=1):
            raise UsageError(
                f"environment variable {variable}: two underscores stand between section and key",
                hint=f"Use {ENVIRONMENT_PREFIX}{section.upper()}__{near[0].upper()}",
            )


def _set_layer(sets: Iterable[str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (equals and dot and section and name):
            raise UsageError("--set wants section.key=value", got=repr(text), hint="Example: --set train.lr=0.0002")
        if name.count(".") > _DEEPEST:
            raise UsageError("--set: a key is nested too deeply", got=repr(_shortened(key)))
        layer = _merge(layer, nested({key.strip(): _value(value.strip())}))
    return layer


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key as a layer."""
    layer: dict[str, Any] = {}
    for key, value in values.items():
        below: Any = value
        for part in reversed(key.split(".")):
            below = {part: below}
        layer = _merge(layer, below)
    return layer


def _value(text: str) -> Any:
    """A TOML value; a bare word is a string, and null is no value, which TOML cannot say."""
    if text == "null":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or as many brackets
        raise UsageError("a value of --set or the environment cannot be read", got=_shortened(text)) from error


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _only_dataset(work: Path) -> str:
    found = sorted(path.name for path in work.iterdir() if path.name in set(DATASETS)) if work.is_dir() else []
    if len(found) == 1:
        return found[0]
    here = f"{work} holds {', '.join(found)}" if found else f"{work} holds none"
    raise UsageError(f"no data set chosen: {here}", hint=f"Use --dataset NAME with one of: {', '.join(DATASETS)}")
