"""Convolutions by Winograd, beside the sum that defines them."""

import pytest
import torch
from torch import nn

from pipeline.backbones.winograd import Winograd, suits


def given(channels: int, height: int, width: int, images: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    values = torch.rand((images, channels, height, width), generator=generator)
    return values.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (5, 8), (14, 14), (70, 66)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_gives_what_the_convolution_gives_in_double_precision(height: int, width: int, bias: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(24, 20, 3, padding=1, bias=bias)
    images = given(24, height, width)

    with torch.inference_mode():
        found = Winograd(convolution)(images)
        exact = convolution.double()(images.double())

    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 4e-6 * exact.abs().max()


def test_the_error_of_many_channels_is_that_of_float32() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(512, 512, 3, padding=1)
    images = given(512, 14, 14, 1)

    with torch.inference_mode():
        found, direct = Winograd(convolution)(images), convolution(images)
        exact = convolution.double()(images.double())

    error, usual = ((one - exact).abs().max() / exact.abs().max() for one in (found, direct))
    assert error < 3e-6
    assert error < 6 * usual


@pytest.mark.parametrize(
    ("convolution", "expected"),
    [
        (nn.Conv2d(128, 128, 3, padding=1), True),
        (nn.Conv2d(3, 64, 3, padding=1), False),
        (nn.Conv2d(128, 128, 1), False),
        (nn.Conv2d(128, 128, 3, padding=1, stride=2), False),
        (nn.Conv2d(128, 128, 3, padding=1, groups=2), False),
        (nn.Conv2d(128, 128, 3, padding=2, dilation=2), False),
        (nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(128, 128, 3, padding=1).bfloat16(), False),
    ],
)
def test_only_convolutions_that_it_can_do_and_that_gain_by_it_suit(convolution: nn.Conv2d, expected: bool) -> None:
    assert suits(convolution) is expected
