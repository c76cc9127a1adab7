"""Running a backbone: batches, threads, devices, what stays in memory."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pipeline.backbones import tiny
from pipeline.backbones.network import network
from schemas.config import BackboneConfig, ExtractConfig

TINY = BackboneConfig(name="tiny", weights="random:0", input_px=64)


def on_cpu(batch_images: int, **changes: object) -> ExtractConfig:
    return ExtractConfig(device="cpu", batch_images=batch_images, **changes)


def pixels(num_images: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (num_images, 64, 64, 3), np.uint8)


def test_an_images_maps_do_not_depend_on_its_neighbours_or_its_place() -> None:
    loaded = network(TINY, on_cpu(8))
    images = pixels(8)
    together = loaded.run(images)

    for order in ([7, 6, 5, 4, 3, 2, 1, 0], [3], [5, 2, 5]):
        found = loaded.run(images[order])
        for column, values in together.items():
            assert np.array_equal(found[column], values[order])


def test_equal_seeds_give_equal_maps_and_other_seeds_others() -> None:
    first = network(TINY, on_cpu(2)).run(pixels(2))
    other = network(TINY.model_copy(update={"weights": "random:1"}), on_cpu(2)).run(pixels(2))
    again = network(TINY, on_cpu(2)).run(pixels(2))

    assert all(np.array_equal(first[column], again[column]) for column in first)
    assert not any(np.array_equal(first[column], other[column]) for column in first)


def test_normalisation_is_that_of_the_backbone() -> None:
    loaded = network(TINY, on_cpu(1))
    image = pixels(1)
    by_hand = torch.empty(1, 3, 64, 64)
    for channel in range(3):
        for row in range(64):
            for column in range(64):
                by_hand[0, channel, row, column] = (image[0, row, column, channel] / 255 - 0.5) / 0.25

    with torch.inference_mode():
        expected = tiny.build(TINY)(by_hand)["conv2"]

    assert np.allclose(loaded.run(image)["conv2"], expected.numpy(), rtol=1e-3, atol=1e-3)


def test_several_threads_get_one_network_and_equal_maps() -> None:
    images = pixels(4)

    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: network(TINY, on_cpu(4)), range(8)))
        found = list(pool.map(lambda one: one.run(images)["fc1"].tobytes(), loaded))

    assert len(set(map(id, loaded))) == 1
    assert len(set(found)) == 1


def test_loading_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    network(TINY.model_copy(update={"weights": "random:77"}), on_cpu(1))

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 4e-2), ("fp16", 5e-3)])
def test_half_precisions_give_nearly_the_numbers_of_the_full_one(precision: str, tolerance: float) -> None:
    full = network(TINY, on_cpu(4)).run(pixels(4))
    half = network(TINY, on_cpu(4, precision=precision)).run(pixels(4))

    for column, values in full.items():
        assert values.dtype == half[column].dtype == np.float16
        difference = np.linalg.norm(half[column].astype(float) - values) / np.linalg.norm(values.astype(float))
        assert 0 < difference < tolerance


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_vggs_maps_do_not_depend_on_neighbours_place_batch_or_how_full_it_is(precision: str) -> None:
    config = BackboneConfig(name="vgg19", weights="random:0", input_px=32)
    loaded = network(config, on_cpu(5, precision=precision))
    images = pixels(20)[:, :32, :32]
    together = loaded.run(images)

    for order in ([4, 3, 2, 1, 0], [2], [18, 1, 4]):
        found = loaded.run(images[order])
        for column, values in together.items():
            assert np.array_equal(found[column], values[order])
    for size, num_images in ((1, 3), (18, 20)):
        loaded.batch_images = size  # as a network of that setting has it, whose weights would take 2 s to draw
        found = loaded.run(images[:num_images])
        for column, values in together.items():
            assert np.array_equal(found[column], values[:num_images])


def test_maps_come_out_in_order_and_equal_with_one_lane_or_several() -> None:
    images = pixels(7)
    alone, several = (network(TINY, on_cpu(3), threads).run(images) for threads in (1, 3))

    for column, values in alone.items():
        assert np.array_equal(several[column], values)


def test_a_compiled_network_gives_the_numbers_of_the_plain_one_to_one_in_100_000() -> None:
    plain = network(TINY, on_cpu(2)).run(pixels(2))
    found = network(TINY, on_cpu(2, compile=True)).run(pixels(2))

    for column, values in plain.items():
        assert np.allclose(found[column], values, rtol=2e-3, atol=1e-5)  # of float16, whose steps are 1e-3


_SHORT_OF_MEMORY = """
import resource
import numpy as np
from pipeline.backbones.network import network
from schemas.config import BackboneConfig, ExtractConfig
from schemas.errors import PipelineError

def image(side):
    return np.zeros((side, side, 3), np.uint8)

def loaded(images, side):
    config = BackboneConfig(name="tiny", weights="random:0", input_px=side)
    return network(config, ExtractConfig(device="cpu", batch_images=images))

small = loaded(2, 64).run([image(64)])
large = loaded(8192, 64)  # as float32 400 MB
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
found = large.run([image(64)] * 8192)
assert all(np.array_equal(found[column][-1:], values) for column, values in small.items())
print(large.batch_images)
try:
    loaded(1, 2048).run([image(2048)])
except PipelineError as error:
    print(error)
"""


def test_a_batch_too_large_for_memory_halves_itself_and_says_so_and_one_image_too_large_is_an_error() -> None:
    ended = subprocess.run([sys.executable, "-c", _SHORT_OF_MEMORY], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    size, error = ended.stdout.splitlines()
    assert 1 <= int(size) < 8192
    assert "extract: no memory on cpu for 8192 images at once, going on with 4096" in ended.stderr
    assert error.startswith("extract: cpu has not enough memory for one image")
