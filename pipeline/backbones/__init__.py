"""Networks that turn an image into named maps: one module each.

What a backbone's module has to have stands in `contract.Backbone`.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.backbones.contract import Backbone, BackboneOptions
from pipeline.backbones.description import Description, flaw
from pipeline.backbones.offer import USUAL_PX
from pipeline.engine.registry import Registry
from schemas.config import BackboneConfig
from schemas.errors import UsageError
from schemas.features import MapSpec

if TYPE_CHECKING:
    from torch import nn

BACKBONES: Registry[Backbone] = Registry(
    "backbone",
    {
        "dino_resnet50": "pipeline.backbones.dino_resnet50",
        "efficientnet_lite0": "pipeline.backbones.efficientnet_lite0",
        "open_clip": "pipeline.backbones.open_clip",
        "timm": "pipeline.backbones.timm",
        "tiny": "pipeline.backbones.tiny",
        "vgg19": "pipeline.backbones.vgg19",
        "vgg19_bn": "pipeline.backbones.vgg19_bn",
    },
    Backbone,
    "backbones",
    optional=BackboneOptions,
    families={"open_clip": "<model>:<tag>", "timm": "<model>[.<tag>]"},
)


def settled(config: BackboneConfig) -> BackboneConfig:
    """The same settings, with the backbone's own input size where they name none.

    Raises:
        UsageError: no such backbone.
    """
    if config.input_px is not None:
        return config
    room = BACKBONES.load(config.name)
    own_px = room.input_px(config) if hasattr(room, "input_px") else USUAL_PX
    return config.model_copy(update={"input_px": own_px})


def describe(config: BackboneConfig) -> Description:
    """What the backbone of these settings says of itself.

    Raises:
        UsageError: no such backbone, settings that do not suit it, or no description.
    """
    described = BACKBONES.load(config.name).describe(settled(config))
    BACKBONES.tried(config.name, partial(flaw, described))
    return described


def build(config: BackboneConfig) -> "nn.Module":
    """The network of these settings, in evaluation mode.

    Raises:
        PipelineError: its weights cannot be had, or are another network's.
    """
    return BACKBONES.load(config.name).build(settled(config))


@dataclass(frozen=True)
class Listed:
    """A backbone as a list shows it.

    Attributes:
        resize: height and width of its input, where the settings name none.
        maps: that it stores then.
        licence: of its published weights; None where there are none.
    """

    name: str
    resize: tuple[int, int]
    maps: tuple[MapSpec, ...]
    licence: str | None


@dataclass(frozen=True)
class Listing:
    """Backbones that match.

    Attributes:
        left_out: how many more do.
        notes: why a family cannot be searched, or gives nothing.
    """

    rows: tuple[Listed, ...]
    left_out: int
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The rows as JSON values."""
        backbones = [
            {
                "name": row.name,
                "resize": row.resize,
                "maps": [one.model_dump() for one in row.maps],
                "licence": row.licence,
            }
            for row in self.rows
        ]
        return {"backbones": backbones, "left_out": self.left_out, "notes": self.notes}


def search(text: str, most: int = 10) -> Listing:
    """Backbones whose name has a text in it, members of families too; no weights are looked at."""
    notes, names = [], [name for name in BACKBONES if text in name and ":" not in name]
    for family in BACKBONES.families:
        room: Any = BACKBONES.load(f"{family}:any")
        try:
            names += [f"{family}:{member}" for member in room.members(text.removeprefix(f"{family}:"))]
        except UsageError as error:
            notes.append(str(error))
    rows = []
    for name in names[:most]:
        try:
            described = describe(BackboneConfig(name=name))
        except UsageError as error:
            notes.append(f"{name}: {error}")
            continue
        published = described.published
        rows.append(Listed(name, described.resize, described.maps, published.licence if published else None))
    return Listing(tuple(rows), max(0, len(names) - most), tuple(notes))
