"""docs/adding.md and the table in README.md, made from the contracts of the rooms: how to add a thing.

Command: make docs
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.backbones import BACKBONES
from pipeline.datasets import DATASETS
from pipeline.engine.registry import Registry, attributes, functions
from pipeline.metrics import PROTOCOLS
from pipeline.models import MODELS
from pipeline.stores import STORES

PATH = Path(__file__).with_suffix(".md")
README = PATH.parents[1] / "README.md"

_MARKS = ("<!-- made by docs/adding.py: -->", "<!-- end -->")
_HEAD = """# Adding things

This page is made from the code: `make docs`. A thing is a module, or a folder with settings apart from what needs
torch. It loads without torch. Its names are those of its room's contract, a Protocol; the module is compared with it
when its name is used, so that `plan` refuses what is missing, or takes other arguments, by name.

**In a package of your own**, which is installed beside biam-pipe: its `pyproject.toml` names the module under the
entry points of the room. [docs/example](example) is such a package with one of each, in 306 lines; `pip install
./docs/example`.

```toml
[project.entry-points."biam_pipe.models"]
linear = "biam_example.linear"
```

`biam-pipe show models` lists it, `--set model.name=linear` uses it. Its distribution, version and the hash of its
module (of all modules of its folder, where it is a package) belong to the recipe of the stage that runs it, a store's
to the receipts of the shards that it wrote: another text is another run. Names that are biam-pipe's own cannot be
taken. Stores and protocols, and the backbone and model that the settings choose, are tried on a made-up sample before
`plan` says yes.

What is named here and where it is explained: settings and their marks (`Recipe`, `Content`, `Steers`) in
`schemas/section.py`, their docstrings are what `show config` prints; `DatasetSection` (with `own_protocol` and
`split_by_content`) in `schemas/datasets.py`; `Label` and `Listing` in `label.py` and `listing.py` of
`pipeline/datasets`; `RECORDS` in `schemas/tables.py`; `MapSpec` and `FeatureSpec` in `schemas/features.py`;
`Description` in `pipeline/backbones/description.py`; `TappedNetwork`, for layers one after the other, in
`pipeline/backbones/tapped.py`; `FeatureBatch` in `pipeline/stores/batch.py`; `Reader` and `damage_named`, which makes
an IntegrityError of what a library raises on broken bytes, in `pipeline/stores/reader.py`; `FeatureSizes` in
`pipeline/models/sizes.py`; `Counts` in `pipeline/metrics/measurement.py`; `Hits` in `pipeline/metrics/topk.py`.

**In biam-pipe itself**: the module in its room, and a line in the registry, as the table says.

A data set may have settings of other sections, presets of models, and stages of its own: a module `dags/<name>.py`,
in a package one under the entry points `biam_pipe.dags`. A stage is `pipeline/stages/<name>.py` with `stage` and
`run`, a line in `dags/default.py`, in `STAGES` of `cli.py` and in the contract on stages in `pyproject.toml`.
"""


@dataclass(frozen=True)
class Room:
    """Where a kind of thing lives.

    Attributes:
        folder: below the root of the project.
        registry: of its names.
        example: its module in docs/example.
    """

    folder: str
    registry: Registry[Any]
    example: str


ROOMS = (
    Room("pipeline/datasets", DATASETS, "albums"),
    Room("pipeline/backbones", BACKBONES, "colours"),
    Room("pipeline/stores", STORES, "npz"),
    Room("pipeline/models", MODELS, "linear"),
    Room("pipeline/metrics", PROTOCOLS, "best_one"),
)


def page() -> str:
    """The whole page."""
    lines = [_HEAD, *_table("example/"), *(line for room in ROOMS for line in _section(room))]
    return "\n".join(lines) + "\n"


def readme() -> str:
    """README.md with its table as the contracts are now."""
    before, _, rest = README.read_text(encoding="utf-8").partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    return "\n".join([before + _MARKS[0], "", *_table("docs/example/"), "", _MARKS[1] + after])


def _table(example: str) -> Iterator[str]:
    yield from ("| to add a | it has | register in, or entry points | example |", "|---|---|---|---|")
    for room in ROOMS:
        contract = room.registry.contract
        names = ", ".join(f"`{name}`" for name in (*attributes(contract), *functions(contract)))
        registry = f"`{room.folder}/__init__.py`, `biam_pipe.{room.registry.room}`"
        module = f"[{room.example}.py]({example}biam_example/{room.example}.py)"
        yield f"| {room.registry.kind} | {names} | {registry} | {module} |"


def _section(room: Room) -> Iterator[str]:
    registry = room.registry
    text = (inspect.getdoc(registry.contract) or "").partition("\nAttributes:\n")[0].strip()
    name = f"`{registry.contract.__module__}.{registry.contract.__name__}`"
    yield from ("", f"## A {registry.kind}", "", f"{name}. {text}", "", *_members(registry.contract))
    if registry.optional is not None:
        yield from ("", (inspect.getdoc(registry.optional) or "").partition("\n")[0], "", *_members(registry.optional))


def _members(contract: type) -> Iterator[str]:
    _, _, listed = (inspect.getdoc(contract) or "").partition("\nAttributes:\n")
    explained = dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", listed, re.MULTILINE))
    for name in attributes(contract):
        yield f"- `{name}`: {' '.join(explained[name].split())}"
    for name, function in functions(contract).items():
        taken = ", ".join([*inspect.signature(function).parameters][1:])
        yield f"- `{name}({taken})`: {_told(function)}"


def _told(function: Any) -> str:
    """What a function's docstring says, in one line, errors included."""
    text = (inspect.getdoc(function) or "").replace("\n\nArgs:\n", " ").replace("\n\nRaises:\n", " Raises ")
    return " ".join(text.split())


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
