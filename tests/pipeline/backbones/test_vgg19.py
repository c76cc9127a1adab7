"""VGG-19 against a plain forward pass of torchvision's network."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import VGG19_Weights, vgg19

from pipeline.backbones import vgg19 as room
from pipeline.backbones.network import Network, network
from pipeline.images.decode import resize
from schemas.config import BackboneConfig

CONFIG = BackboneConfig(name="vgg19", weights="random:0")


@pytest.fixture(scope="module")
def loaded() -> Network:
    return network(CONFIG, "cpu", 3)


def pictures() -> list[Image.Image]:
    smooth = Image.radial_gradient("L").resize((300, 200)).convert("RGB")
    return [smooth, Image.effect_noise((250, 400), 80).convert("RGB"), smooth.rotate(90, expand=True)]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected))


def test_features_equal_a_plain_float32_forward_pass_of_torchvision(loaded: Network) -> None:
    pixels = np.stack([resize(picture, CONFIG.input_px) for picture in pictures()])
    found = loaded.run(pixels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = vgg19(weights=None).eval()
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


def test_the_published_weights_are_torchvisions() -> None:
    torchvisions = VGG19_Weights.IMAGENET1K_V1

    assert torchvisions.url == room.PUBLISHED.address
    assert room.PUBLISHED.sha256 in torchvisions.url
    transforms = torchvisions.transforms()
    assert tuple(transforms.mean) == room.NORMALISATION.mean
    assert tuple(transforms.std) == room.NORMALISATION.std
