"""Running a backbone: batches, threads, devices, what stays in memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from pipeline.backbones.network import network
from schemas.config import BackboneConfig

TINY = BackboneConfig(name="tiny", weights="random:0", input_px=64)


def pixels(num_images: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (num_images, 64, 64, 3), np.uint8)


def test_an_images_maps_do_not_depend_on_its_neighbours_or_its_place() -> None:
    loaded = network(TINY, "cpu", 8)
    images = pixels(8)
    together = loaded.run(images)

    for order in ([7, 6, 5, 4, 3, 2, 1, 0], [3], [5, 2, 5]):
        found = loaded.run(images[order])
        for column, values in together.items():
            assert np.array_equal(found[column], values[order])


def test_equal_seeds_give_equal_maps_and_other_seeds_others() -> None:
    first = network(TINY, "cpu", 2).run(pixels(2))
    other = network(TINY.model_copy(update={"weights": "random:1"}), "cpu", 2).run(pixels(2))
    again = network(TINY, "cpu", 2).run(pixels(2))

    assert all(np.array_equal(first[column], again[column]) for column in first)
    assert not any(np.array_equal(first[column], other[column]) for column in first)


def test_normalisation_is_that_of_the_backbone() -> None:
    loaded = network(TINY, "cpu", 1)
    image = pixels(1)
    by_hand = torch.empty(1, 3, 64, 64)
    for channel in range(3):
        for row in range(64):
            for column in range(64):
                by_hand[0, channel, row, column] = (image[0, row, column, channel] / 255 - 0.5) / 0.25

    with torch.inference_mode():
        expected = loaded.module(by_hand)["conv2"]

    assert np.allclose(loaded.run(image)["conv2"], expected.numpy(), rtol=1e-3, atol=1e-3)


def test_several_threads_get_one_network_and_equal_maps() -> None:
    images = pixels(4)

    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: network(TINY, "cpu", 4), range(8)))
        found = list(pool.map(lambda one: one.run(images)["fc1"].tobytes(), loaded))

    assert len(set(map(id, loaded))) == 1
    assert len(set(found)) == 1


def test_loading_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    network(TINY.model_copy(update={"weights": "random:77"}), "cpu", 1)

    assert torch.equal(torch.rand(3), expected)
