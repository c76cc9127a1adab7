"""docs/settings.md, made from the code: every setting with its default, what it decides and what it means.

Command: make docs
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dags import DAGS
from pipeline.datasets import DATASETS
from pipeline.models import MODELS
from pipeline.models.contract import presets
from schemas.config import Config
from schemas.section import Decides, Section, explanations

PATH = Path(__file__).with_suffix(".md")

_HEAD = """# Settings

This page is made from the code: `make docs`. `biam-pipe show config --dataset demo` prints the settings of a run, each
below the same explanation. Set one with `--set train.lr=1e-4`, with `BIAM_PIPE_TRAIN__LR=1e-4` in the environment, or
in biam-pipe.toml. `null` means that nothing is set; a TOML file cannot say so.

What a setting decides:
"""
_SET_ELSEWHERE = """
## What presets and data sets change

Over the defaults above. A preset comes first, then the data set, then what the preset is on that data set.

| for | settings |
|---|---|"""


def page() -> str:
    """The whole page."""
    lines = [_HEAD, *(f"- **{mark.name.lower()}**: {mark.value}" for mark in Decides)]
    for dataset in DATASETS.ours:
        lines += _section(f"dataset ({dataset})", DATASETS.load(dataset).SETTINGS)
    for name, field in Config.model_fields.items():
        if name == "model":
            for model in MODELS.ours:
                lines += _section(f"model ({model})", MODELS.load(model).SETTINGS)
        elif name != "dataset":
            assert isinstance(field.annotation, type)
            lines += _section(name, field.annotation)
    lines += [
        _SET_ELSEWHERE,
        *(f"| {title} | {_listed(settings)} |" for title, settings in _set_elsewhere() if settings),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, section: type[Section]) -> Iterator[str]:
    yield from ("", f"## {title}", "", " ".join(str(section.__doc__).split()), "")
    yield from ("| setting | default | decides | meaning |", "|---|---|---|---|")
    defaults, said = section().model_dump(mode="json"), explanations(section)
    for key, field in section.model_fields.items():
        (decides,) = (mark for mark in field.metadata if isinstance(mark, Decides))
        yield f"| {key} | {_value(defaults[key])} | {decides.name.lower()} | {said[key]} |"


def _set_elsewhere() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for model in MODELS.ours:
        for preset, settings in presets(MODELS.load(model)).items():
            yield f"model {model}, preset {preset}", settings
    for name in DAGS.ours:
        yield f"data set {name}", {key: value for key, value in DAGS.load(name).SETTINGS.items() if key != "dataset"}
        for (model, preset), settings in getattr(DAGS.load(name), "PRESETS", {}).items():
            yield f"data set {name}, model {model}, preset {preset}", settings


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"`{section}.{key}` = {_value(value)}" for section in settings for key, value in settings[section].items()
    )


def _value(value: Any) -> str:
    """A value as one may set it; what is long stands in items of its own."""
    if isinstance(value, dict) and value:
        return "<br>".join(f"`{key}` = `{json.dumps(item)}`" for key, item in value.items())
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
