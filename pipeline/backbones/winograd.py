"""3x3 convolutions with a quarter of the products, for a CPU in float32.

A tile of 4 x 4 outputs needs 6 x 6 inputs. Both and the kernel are polynomials' coefficients; the convolution is a
product of polynomials, which 6 values in each direction settle: evaluate, multiply value by value, interpolate. That
takes 36 products in place of 144, and all tiles together are 36 products of matrices, which is what a CPU does best.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4 and equation 12;
Winograd, "Arithmetic Complexity of Computations", 1980.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

# Where the polynomials are evaluated, besides infinity. The usual 1 and 2 lose two more bits: the largest error of a
# layer of 512 channels is 2.6e-6 of the largest value with these, 1.1e-5 with those, and 1.8e-6 in a direct sum.
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
_OUTPUTS, _INPUTS, _KERNEL = 4, 6, 3  # of a tile, in each direction
_TILES = 256  # at once: what they need stays in the caches, and they still fill the vector units
_FEWEST_CHANNELS = 60  # harmonic: below it, moving tiles costs more than the products that it saves


def suits(convolution: nn.Conv2d) -> bool:
    """Whether `Winograd` can stand in for it, and is faster."""
    one = convolution
    form = (one.kernel_size, one.stride, one.padding, one.dilation, one.groups, one.padding_mode, one.weight.dtype)
    channels = one.in_channels * one.out_channels / (one.in_channels + one.out_channels)
    return form == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros", torch.float32) and channels >= _FEWEST_CHANNELS


class Winograd(nn.Module):
    """A convolution's stand-in: the same numbers but for rounding.

    Args:
        convolution: one that suits.
    """

    kernels: torch.Tensor  # [36, in, out]
    bias: torch.Tensor
    evaluate: torch.Tensor
    interpolate: torch.Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        evaluate_inputs, evaluate_kernels, interpolate = (torch.from_numpy(one) for one in _transforms())
        kernels = convolution.weight.detach().double().permute(2, 3, 1, 0).flatten(0, 1)  # [9, in, out]
        values = torch.einsum("vk,kio->vio", evaluate_kernels, kernels)
        self.register_buffer("kernels", values.float().contiguous())
        bias = torch.zeros(convolution.out_channels) if convolution.bias is None else convolution.bias.detach()
        self.register_buffer("bias", bias)
        self.register_buffer("evaluate", evaluate_inputs.float())
        self.register_buffer("interpolate", interpolate.float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[image, channel, height, width] in channels_last memory, as a convolution gives it."""
        count, _, height, width = images.shape
        down, across = -(-height // _OUTPUTS), -(-width // _OUTPUTS)
        given = images.new_empty(count, down * _OUTPUTS, across * _OUTPUTS, self.kernels.shape[2])
        rows = images.permute(0, 2, 3, 1)
        step = max(1, _TILES // (down * across))
        for start in range(0, count, step):
            self._some(rows[start : start + step], given[start : start + step])
        return given[:, :height, :width].permute(0, 3, 1, 2)

    def _some(self, images: torch.Tensor, given: torch.Tensor) -> None:
        """Fill the outputs [image, height, width, channel] of some images."""
        count, height, width, channels = given.shape
        down, across = height // _OUTPUTS, width // _OUTPUTS
        tiles = _tiles(images, height, width)
        evaluated = (self.evaluate @ tiles).view(_INPUTS**2, -1, images.shape[3])
        products = torch.bmm(evaluated, self.kernels).flatten(1)
        outputs = (self.interpolate @ products).view(_OUTPUTS, _OUTPUTS, count, down, across, channels)
        # One pass: the outputs of a tile go to their places, and the bias comes to them on the way.
        places = given.view(count, down, _OUTPUTS, across, _OUTPUTS, channels)
        torch.add(outputs.permute(2, 3, 0, 4, 1, 5), self.bias, out=places)


def _tiles(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inputs of all tiles, [6 * 6, image * tile * channel], of images that are padded to `height` x `width`."""
    count, inner_height, inner_width, channels = images.shape
    padded = images.new_zeros(count, height + _KERNEL - 1, width + _KERNEL - 1, channels)
    padded[:, 1 : inner_height + 1, 1 : inner_width + 1] = images
    image, row, column, _ = padded.stride()
    shape = (_INPUTS, _INPUTS, count, height // _OUTPUTS, width // _OUTPUTS, channels)
    steps = (row, column, image, _OUTPUTS * row, _OUTPUTS * column, 1)
    return padded.as_strided(shape, steps).reshape(_INPUTS**2, -1)


def _transforms() -> tuple[NDArray[np.floating], ...]:
    """What evaluates 6 x 6 inputs, [36, 36], and 3 x 3 kernels, [36, 9], and what interpolates 4 x 4 outputs, [16, 36].

    By the transposition principle a filter's outputs are interpolated from what a product of polynomials is evaluated
    by, and the other way round.
    """
    points = np.array(_POINTS)
    kernels, interpolate = np.zeros((_INPUTS, _KERNEL)), np.zeros((_OUTPUTS, _INPUTS))
    inputs = np.zeros((_INPUTS, _INPUTS))
    for number, point in enumerate(points):
        others = np.delete(points, number)
        kernels[number] = point ** np.arange(_KERNEL) / np.prod(point - others)
        interpolate[:, number] = point ** np.arange(_OUTPUTS)
        inputs[number, :-1] = np.poly(others)[::-1]  # 1 at its point after the division above, 0 at all others
    kernels[-1, -1] = interpolate[-1, -1] = 1  # at infinity: the highest coefficient
    inputs[-1] = np.poly(points)[::-1]
    return tuple(np.kron(one, one) for one in (inputs, kernels, interpolate))
