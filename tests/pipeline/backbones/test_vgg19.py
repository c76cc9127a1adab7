"""VGG-19, with and without batch normalisation, against a plain forward pass of torchvision's network."""

from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import VGG, VGG19_BN_Weights, VGG19_Weights, WeightsEnum, vgg19, vgg19_bn

from pipeline.backbones import vgg19 as room
from pipeline.backbones import vgg19_bn as room_bn
from pipeline.backbones.network import Network, network
from pipeline.images.resize import resize
from schemas.config import BackboneConfig, ExtractConfig
from schemas.fit import Fit

CONFIG = BackboneConfig(name="vgg19", weights="random:0")


@pytest.fixture(scope="module")
def loaded() -> Network:
    return network(CONFIG, ExtractConfig(device="cpu", batch_images=3))


def pictures() -> list[Image.Image]:
    smooth = Image.radial_gradient("L").resize((300, 200)).convert("RGB")
    return [smooth, Image.effect_noise((250, 400), 80).convert("RGB"), smooth.rotate(90, expand=True)]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def plain() -> VGG:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return vgg19(weights=None).eval()


def test_features_equal_a_plain_float32_forward_pass_of_torchvision(loaded: Network, plain: VGG) -> None:
    pixels = np.stack([resize(picture, Fit((224, 224))) for picture in pictures()])
    found = loaded.run(pixels)
    mean, std = (torch.tensor(one)[:, None, None] for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    for image, row in enumerate(pixels):
        images = ((torch.from_numpy(row).permute(2, 0, 1) / 255 - mean) / std)[None].contiguous()
        with torch.inference_mode():
            regions = plain.features[:36](images)  # up to relu5_4
            vector = plain.classifier[:5](
                plain.avgpool(plain.features[36](regions)).flatten(1)
            )  # up to the second ReLU
        assert found["conv5"][image].shape == (14, 14, 512)
        assert found["fc7"][image].shape == (4096,)
        assert relative_error(found["conv5"][image], regions[0].permute(1, 2, 0).numpy()) < 2e-3
        assert relative_error(found["fc7"][image], vector[0].numpy()) < 2e-3


def test_maps_on_both_sides_of_a_pool_are_those_of_the_layers_whatever_else_is_stored(plain: VGG) -> None:
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    layers = ("conv1", "pool1", "pool3", "conv5", "pool5", "fc6")

    with torch.inference_mode():
        found = room.build(BackboneConfig(name="vgg19", weights="random:0", layers=layers))(images)
        for column, end in {"conv1": 4, "pool1": 5, "pool3": 19, "conv5": 36, "pool5": 37}.items():
            assert torch.equal(found[column], plain.features[:end](images).permute(0, 2, 3, 1)), column
        assert torch.equal(found["fc6"], plain.classifier[:2](plain.avgpool(plain.features(images)).flatten(1)))


def test_batch_normalised_maps_equal_a_plain_forward_pass_of_torchvision() -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = vgg19_bn(weights=None).eval()

    with torch.inference_mode():
        found = room_bn.build(BackboneConfig(name="vgg19_bn", weights="random:0"))(images)
        for column, end in {"pool3": 27, "pool4": 40, "pool5": 53}.items():
            assert torch.equal(found[column], plain.features[:end](images).permute(0, 2, 3, 1)), column


@pytest.mark.parametrize(
    ("room", "torchvisions"), [(room, VGG19_Weights.IMAGENET1K_V1), (room_bn, VGG19_BN_Weights.IMAGENET1K_V1)]
)
def test_the_published_weights_are_torchvisions(room: ModuleType, torchvisions: WeightsEnum) -> None:
    described = room.describe(BackboneConfig())
    assert torchvisions.url == described.published.address
    assert described.published.sha256 in torchvisions.url
    transforms = torchvisions.transforms()
    assert tuple(transforms.mean) == described.normalisation.mean
    assert tuple(transforms.std) == described.normalisation.std
