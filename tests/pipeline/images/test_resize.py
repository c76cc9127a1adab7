"""Pixels brought to the backbone's size: by Pillow as torchvision does with its images, by torch all but the same."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from pipeline.images.resize import interpolation, resize
from schemas.fit import Fit

SQUEEZED = Fit((32, 32))


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_resizing_squeezes_the_whole_picture_into_a_square_as_torchvision_does() -> None:
    from torchvision.transforms import Resize

    image = Image.effect_noise((100, 60), 90).convert("RGB")

    found = resize(image, Fit((32, 32)))

    assert found.shape == (32, 32, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.asarray(Resize((32, 32))(image)))


@pytest.mark.parametrize(
    ("size", "interpolation"), [((500, 375), "bilinear"), ((375, 500), "bicubic"), ((20, 23), "bicubic")]
)
def test_cropping_cuts_the_middle_out_as_torchvision_does(size: tuple[int, int], interpolation: str) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    image = Image.effect_noise(size, 90).convert("RGB")
    theirs = Compose([Resize(256, InterpolationMode(interpolation)), CenterCrop(224)])

    found = resize(image, Fit((224, 224), interpolation, (256, 256)))

    assert np.abs(found.astype(int) - np.asarray(theirs(image))).max() <= 1  # Pillow keeps a box in float32


def test_cropping_a_long_strip_needs_no_more_memory_than_its_middle() -> None:
    strip = Image.new("RGB", (60_000, 1), "red")

    found = resize(strip, Fit((32, 32), "bicubic", (20_000, 20_000)))

    assert found.shape == (32, 32, 3)
    assert (found == [255, 0, 0]).all()


@pytest.mark.parametrize("fit", [SQUEEZED, Fit((24, 32)), Fit((32, 32), "bicubic"), Fit((32, 32), "bicubic", (40, 40))])
@pytest.mark.parametrize("size", [(100, 60), (300, 16), (1, 1), (2500, 1700)])  # the last in several pieces of memory
def test_torch_gives_pillows_pixels_but_for_a_few_that_differ_by_one(size: tuple[int, int], fit: Fit) -> None:
    image = noise(*size)
    whole = image.crop(fit.whole_box(*size))  # torch cuts at whole pixels

    found = resize(image, fit, "torch")

    apart = np.abs(found.astype(int) - resize(whole, Fit(fit.size_px, fit.interpolation)))
    assert found.shape == (*fit.size_px, 3)
    assert found.flags.c_contiguous
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.1


def test_torch_reads_the_pixels_of_an_image_that_was_turned() -> None:
    image = noise(90, 40).transpose(Image.Transpose.ROTATE_90)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
    theirs = interpolate(pixels, (32, 32), mode="bilinear", antialias=True)[0].permute(1, 2, 0)

    assert np.array_equal(resize(image, SQUEEZED, "torch"), theirs.numpy())


def test_a_strip_keeps_its_colour_by_torch() -> None:
    for size in ((60_000, 1), (1, 60_000)):
        found = resize(Image.new("RGB", size, "red"), Fit((32, 32), "bicubic", (20_000, 20_000)), "torch")
        assert (found == [255, 0, 0]).all()


def test_recipes_tell_what_resizes() -> None:
    assert interpolation("bicubic", "pillow") == "bicubic"
    assert interpolation("bicubic", "torch") == "bicubic, torch uint8"
