"""Image towers of open_clip, as `open_clip:MODEL:TAG`: regions and image in the space of their text towers.

`pooled` is the image's vector, as open_clip's `encode_image` gives it, not normalised. `patches` are the regions: the
tower's last normalisation and its projection, as they make the image's vector of one token, applied to the token of
each patch. Only open_clip's own vision transformers without attention pooling have them: ResNets and towers that pool
by attention (SigLIP, CoCa) project no single token, and for trunks of timm open_clip defines none.

The whole picture is squeezed into the square that the tower was built for, so that the regions cover all of it.
open_clip cuts most towers' square out of the middle, as `backbone.fit = "crop"` does here: other features.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipeline.backbones import weights
from pipeline.backbones.description import Description, Normalisation
from pipeline.backbones.offer import Layer, Offer
from pipeline.backbones.weights import Published
from pipeline.towers.tower import FAMILY, Tower, models
from schemas.command import Command
from schemas.config import BackboneConfig
from schemas.errors import UsageError
from schemas.features import MapSpec
from schemas.random_weights import RANDOM

if TYPE_CHECKING:
    from pipeline.backbones.open_clip.network import ImageTower

_NAME = "backbone.name"
_PATCHES, _POOLED = "patches", "pooled"
_USUAL_PX, _USUAL_PATCH_PX = 224, 16
# Source: open_clip, `PreprocessCfg`, for weights without a tag. A tag may have others.
_USUAL = Normalisation(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))


def describe(config: BackboneConfig) -> Description:
    """What goes in and what comes out.

    Raises:
        UsageError: open_clip is not installed.
        UsageError: no such model or tag, or another input than the tower was built for.
    """
    tower, size_px = _tower(config), _size_px(config)
    known = tower.published if tower.weights else None
    if known is None:
        return Description(_maps(config), size_px, _USUAL, None, "bicubic", crop_fraction=1.0)
    published = Published(
        name=f"{tower.model} {tower.weights}",
        address=known.file.address(),
        sha256=None,  # its publisher tells none
        licence=f"as their publisher says: https://huggingface.co/{known.file.repository}",
        hub=known.file,
    )
    seen = Normalisation(known.mean, known.std)
    return Description(_maps(config), size_px, seen, published, known.interpolation, crop_fraction=1.0)


def input_px(config: BackboneConfig) -> int:
    """Height of the input that the tower was built for.

    Raises:
        UsageError: open_clip is not installed.
        UsageError: no such model.
    """
    return _built_for(_tower(config))[0]


def build(config: BackboneConfig) -> "ImageTower":
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: the weights cannot be had, or are those of another network.
        IntegrityError: they are not the published ones.
    """
    from pipeline.backbones.open_clip.network import ImageTower
    from pipeline.towers.networks import created, loaded

    model, published = _tower(config).model, describe(config).published
    whole = weights.assemble(partial(created, model), config, published, partial(loaded, model))
    return ImageTower(whole.get_submodule("visual"), _grid(config), _offer(config).columns(config))


def members(text: str) -> Sequence[str]:
    """Models whose name has this text in it, without their tags.

    Raises:
        UsageError: open_clip is not installed.
    """
    return [model for model in models() if text.casefold() in model.casefold()]


def _tower(config: BackboneConfig) -> Tower:
    tower = Tower.named(_NAME, config.name)
    if tower.seed is not None or tower.path is not None:
        raise UsageError(
            f"{_NAME} = {config.name!r}: weights that are random or a file's have a setting of their own",
            hint="Use:",
            run=Command(
                sets={_NAME: f"{FAMILY}:{tower.model}", weights.SETTING: tower.path or f"{RANDOM}{tower.seed}"}
            ),
        )
    return tower


def _size_px(config: BackboneConfig) -> tuple[int, int]:
    """Height and width of the input, which the tower has.

    Raises:
        UsageError: the settings ask for another.
    """
    size_px = _built_for(_tower(config))
    if config.input_px not in (None, size_px[0]):
        raise UsageError(
            f"backbone.input_px = {config.input_px}: {config.name} takes {size_px[0]} x {size_px[1]} alone",
            hint="Use:",
            run=Command(sets={"backbone.input_px": size_px[0]}),
        )
    return size_px


def _built_for(tower: Tower) -> tuple[int, int]:
    return _pair(tower.config["vision_cfg"].get("image_size", _USUAL_PX))


def _grid(config: BackboneConfig) -> tuple[int, int]:
    """Rows and columns of patches."""
    (height, width), patch = _size_px(config), _tower(config).config["vision_cfg"].get("patch_size", _USUAL_PATCH_PX)
    rows, columns = _pair(patch)
    return height // rows, width // columns


def _offer(config: BackboneConfig) -> Offer:
    tower = _tower(config)
    vision = tower.config["vision_cfg"]
    own = "timm_model_name" not in vision and isinstance(vision.get("layers"), int)
    patches = {_PATCHES: Layer("projected patch tokens", tower.size, 1)}
    layers = {_POOLED: Layer("image embedding", tower.size)}
    if own and not vision.get("attentional_pool"):
        layers = patches | layers
    return Offer(config.name, layers, tuple(layers), smallest_px=1)


def _maps(config: BackboneConfig) -> tuple[MapSpec, ...]:
    return tuple(_map(config, column) for column in _offer(config).columns(config))


def _map(config: BackboneConfig, column: str) -> MapSpec:
    layer = _offer(config).layers[column]
    if column == _POOLED:
        return MapSpec(column=column, role="global", layer=layer.name, shape=(layer.channels,), layout="C")
    return MapSpec(column=column, role="region", layer=layer.name, shape=(*_grid(config), layer.channels))


def _pair(size: int | list[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
