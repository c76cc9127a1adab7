"""Attention blocks against slow loops written from their formulas."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.models.biam.attention import sigmoid_attention, softmax_attention
from pipeline.models.biam.blocks import RegionNorm
from pipeline.models.biam.compared_blocks import CrissCross, NonLocal

IMAGES, CHANNELS, HEIGHT, WIDTH = 2, 16, 3, 4


def linear(layer, vector):
    return layer.weight.detach().numpy()[:, :, 0, 0] @ vector + layer.bias.detach().numpy()


def gathered(block, source, reachable):
    """[height, width, value]: at each region the softmax-weighted values of those that it may look at."""
    result = {}
    for region in np.ndindex(HEIGHT, WIDTH):
        others = [other for other in np.ndindex(HEIGHT, WIDTH) if reachable(region, other)]
        query = linear(block.query, source[region])
        fits = np.exp([query @ linear(block.key, source[other]) for other in others])
        values = [linear(block.value, source[other]) for other in others]
        result[region] = sum(fit * value for fit, value in zip(fits / fits.sum(), values, strict=True))
    return result


def source(seed=0):
    return torch.randn(IMAGES, CHANNELS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)).double()


def test_non_local_is_the_formula_region_by_region():
    torch.manual_seed(1)
    block, maps = NonLocal(CHANNELS).double(), source()
    nn.init.normal_(block.output.weight)
    nn.init.normal_(block.output.bias)
    with torch.no_grad():
        found = block(maps).permute(0, 2, 3, 1).numpy()
    for image, one in zip(found, maps.permute(0, 2, 3, 1).numpy(), strict=True):
        all_regions = gathered(block, one, lambda region, other: True)
        for region in np.ndindex(HEIGHT, WIDTH):
            expected = one[region] + linear(block.output, all_regions[region])
            np.testing.assert_allclose(image[region], expected, rtol=1e-10)


def test_non_local_begins_as_the_identity():
    assert torch.equal(NonLocal(CHANNELS).double()(source()), source())


def test_criss_cross_is_two_passes_over_row_and_column():
    torch.manual_seed(1)
    block, maps = CrissCross(CHANNELS).double(), source()
    with torch.no_grad():
        found = block(maps).permute(0, 2, 3, 1).numpy()
    expected = maps.permute(0, 2, 3, 1).numpy().copy()
    for image in range(IMAGES):
        for _ in range(2):
            cross = gathered(block, expected[image], lambda one, other: one[0] == other[0] or one[1] == other[1])
            for region in np.ndindex(HEIGHT, WIDTH):
                expected[image][region] += cross[region]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_every_region_reaches_every_other_through_criss_cross():
    torch.manual_seed(1)
    block, maps = CrissCross(CHANNELS).double(), source().requires_grad_()
    block(maps)[0, :, 0, 0].sum().backward()
    assert maps.grad[0].abs().sum(dim=0).gt(0).all()
    assert not maps.grad[1].any()


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_weights_of_a_region_are_softmax_or_sigmoid_of_the_scaled_products(kind):
    query, key, value = (torch.randn(2, 5, 3, 4, dtype=torch.float64) for _ in range(3))
    found = {"softmax": softmax_attention, "sigmoid": sigmoid_attention}[kind](query, key, value, 0.0)
    for image, region, head in np.ndindex(2, 5, 3):
        products = np.array([float(query[image, region, head] @ other) / 2 for other in key[image, :, head]])
        weights = 1 / (1 + np.exp(-products)) if kind == "sigmoid" else np.exp(products) / np.exp(products).sum()
        expected = weights @ value[image, :, head].numpy()
        np.testing.assert_allclose(found[image, region, head], expected, rtol=1e-10)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_of_attention_are_its_slopes(dropout):
    inputs = [torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def attend(*arguments):
        torch.manual_seed(0)  # the same weights dropped each time
        return softmax_attention(*arguments, dropout)

    assert torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("attend", [softmax_attention, sigmoid_attention])
def test_dropout_of_attention_keeps_the_mean(attend):
    query, key, value = (torch.rand(1, 4, 1, 2) for _ in range(3))
    many = [one.expand(4000, -1, -1, -1) for one in (query, key, value)]
    torch.manual_seed(0)
    torch.testing.assert_close(attend(*many, 0.4).mean(dim=0), attend(query, key, value, 0.0)[0], rtol=0.05, atol=0)


def test_region_norm_takes_mean_and_variance_of_a_region_over_its_channels():
    normed = RegionNorm(CHANNELS).double()(source()).detach()
    torch.testing.assert_close(normed.mean(dim=1), torch.zeros(IMAGES, HEIGHT, WIDTH, dtype=torch.float64))
    torch.testing.assert_close(
        normed.var(dim=1, correction=0), torch.ones(IMAGES, HEIGHT, WIDTH).double(), rtol=1e-3, atol=0
    )
