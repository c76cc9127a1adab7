"""What is asked of every backbone."""

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from pipeline.backbones import BACKBONES
from pipeline.backbones.network import network
from schemas.config import BackboneConfig
from schemas.errors import UsageError
from schemas.features import MapSpec

INPUT_PX = 64  # smaller than the usual input: VGG-19 takes a fifteenth of the time


@pytest.fixture(params=list(BACKBONES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def room(name: str) -> ModuleType:
    return BACKBONES.load(name)


def config(name: str, input_px: int = INPUT_PX) -> BackboneConfig:
    return BackboneConfig(name=name, weights="random:0", input_px=input_px)


def test_the_network_gives_the_maps_that_are_promised(name: str, room: ModuleType) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, INPUT_PX, INPUT_PX, 3), np.uint8)

    found = network(config(name), "cpu", 2).run(pixels, threads=1)

    promised = room.maps(config(name))
    assert {column: values.shape[1:] for column, values in found.items()} == {one.column: one.shape for one in promised}
    assert all(values.dtype == np.float16 and np.isfinite(values).all() for values in found.values())
    assert all(np.ptp(values.astype(float)) > 0 for values in found.values())


def test_there_is_a_region_map_and_a_global_one(name: str, room: ModuleType) -> None:
    roles = {one.role: one for one in room.maps(config(name))}

    assert set(roles) == {"region", "global"}
    assert (roles["region"].layout, len(roles["region"].shape)) == ("HWC", 3)
    assert (roles["global"].layout, len(roles["global"].shape)) == ("C", 1)


@pytest.mark.parametrize("input_px", [224, 100, 447])
def test_the_region_map_follows_the_input_size(room: ModuleType, name: str, input_px: int) -> None:
    def region(config: BackboneConfig) -> MapSpec:
        return next(one for one in room.maps(config) if one.role == "region")

    height, width, channels = region(config(name, input_px)).shape

    assert height == width == input_px // 16
    assert channels == region(config(name)).shape[-1]


def test_an_input_too_small_is_refused(room: ModuleType, name: str) -> None:
    with pytest.raises(UsageError, match=r"backbone.input_px = 8: .* needs at least"):
        room.maps(config(name, 8))


def test_maps_and_normalisation_need_no_torch() -> None:
    lines = [
        "import sys",
        "from pipeline.backbones import BACKBONES, weights",
        "from schemas.config import BackboneConfig",
        "for name in BACKBONES:",
        "    config = BackboneConfig(name=name, weights='random:1')",
        "    room = BACKBONES.load(name)",
        "    room.maps(config), room.NORMALISATION, weights.label(config, room.PUBLISHED)",
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
