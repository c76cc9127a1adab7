"""What is asked of every backbone."""

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from pipeline.backbones import BACKBONES
from pipeline.backbones.network import network
from schemas.config import BackboneConfig, ExtractConfig
from schemas.errors import UsageError

INPUT_PX = 64  # smaller than the usual input: VGG-19 takes a fifteenth of the time


@pytest.fixture(params=[name for name in BACKBONES if ":" not in name])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def room(name: str) -> ModuleType:
    return BACKBONES.load(name)


def config(name: str, input_px: int = INPUT_PX) -> BackboneConfig:
    return BackboneConfig(name=name, weights="random:0", input_px=input_px)


def test_the_network_gives_the_maps_that_are_promised(name: str, room: ModuleType) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, INPUT_PX, INPUT_PX, 3), np.uint8)

    found = network(config(name), ExtractConfig(device="cpu", batch_images=2)).run(pixels)

    promised = room.describe(config(name)).maps
    assert {column: values.shape[1:] for column, values in found.items()} == {one.column: one.shape for one in promised}
    assert all(values.dtype == np.float16 and np.isfinite(values).all() for values in found.values())
    assert all(np.ptp(values.astype(float)) > 0 for values in found.values())


def test_there_is_a_region_map_and_a_global_one(name: str, room: ModuleType) -> None:
    roles = {one.role: one for one in reversed(room.describe(config(name)).maps)}  # the first of each role stays

    assert set(roles) == {"region", "global"}
    assert roles["region"].shape[:2] == (INPUT_PX // 16, INPUT_PX // 16)
    assert (roles["region"].layout, len(roles["region"].shape)) == ("HWC", 3)
    assert (roles["global"].layout, len(roles["global"].shape)) == ("C", 1)


@pytest.mark.parametrize("input_px", [224, 100, 127])
def test_every_layer_on_offer_has_the_shape_that_is_promised(room: ModuleType, name: str, input_px: int) -> None:
    chosen = config(name, input_px).model_copy(update={"layers": tuple(room.OFFER.layers)})

    with torch.device("meta"):  # shapes without numbers
        found = room.build(chosen)(torch.empty(1, 3, input_px, input_px))

    assert {column: tuple(values.shape[1:]) for column, values in found.items()} == {
        one.column: one.shape for one in room.describe(chosen).maps
    }


def test_the_settings_choose_layers_and_their_order(room: ModuleType, name: str) -> None:
    chosen = config(name).model_copy(update={"layers": tuple(reversed(room.OFFER.usual))[:2]})

    assert tuple(one.column for one in room.describe(chosen).maps) == chosen.layers
    with torch.device("meta"):
        assert set(room.build(chosen)(torch.empty(1, 3, INPUT_PX, INPUT_PX))) == set(chosen.layers)


def test_layers_behind_the_last_chosen_one_are_left_out(room: ModuleType, name: str) -> None:
    first = next(iter(room.OFFER.layers))
    with torch.device("meta"):
        built = room.build(config(name).model_copy(update={"layers": (first,)}))
        whole = room.build(config(name))

    assert len(list(built.modules())) < len(list(whole.modules()))


def test_an_unknown_layer_and_one_named_twice_are_refused(room: ModuleType, name: str) -> None:
    first = next(iter(room.OFFER.layers))
    with pytest.raises(UsageError, match=f"unknown layer of {name} in backbone.layers '{first}x'. Did you mean"):
        room.describe(config(name).model_copy(update={"layers": (f"{first}x",)}))
    with pytest.raises(UsageError, match=f"backbone.layers = {first}, {first}: got a layer twice"):
        room.describe(config(name).model_copy(update={"layers": (first, first)}))


def test_an_input_too_small_is_refused(room: ModuleType, name: str) -> None:
    with pytest.raises(UsageError, match=r"backbone.input_px = 8: .* needs at least"):
        room.describe(config(name, 8))


def test_maps_and_normalisation_need_no_torch() -> None:
    lines = [
        "import sys",
        "from pipeline.backbones import BACKBONES, weights",
        "from schemas.config import BackboneConfig",
        "for name in (name for name in BACKBONES if ':' not in name):",
        "    config = BackboneConfig(name=name, weights='random:1')",
        "    room = BACKBONES.load(name)",
        "    weights.label(config, room.describe(config).published)",
        "assert 'torch' not in sys.modules",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_an_unknown_backbone_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown backbone 'vgg'. Did you mean 'vgg19'"):
        BACKBONES.load("vgg")


def test_a_map_is_not_overwritten_by_the_layers_behind_it(room: ModuleType, name: str) -> None:
    images = torch.randn(1, 3, INPUT_PX, INPUT_PX, generator=torch.Generator().manual_seed(0))
    built = room.build(config(name))
    first = next(iter(built.steps))
    with torch.inference_mode():
        alone = built.steps[first](images).permute(0, 2, 3, 1).clone()
        found = built(images)[first]

    assert torch.equal(found, alone)
