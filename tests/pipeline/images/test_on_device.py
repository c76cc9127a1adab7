"""JPEGs on the network's device, here the CPU: statuses are Pillow's, pixels lie within 1 of 255 of Pillow's."""

import random
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.photographs import photograph
from pipeline.images.decode import decode
from pipeline.images.on_device import decode_on_device, decoder, suits_device
from pipeline.images.problem import ImageProblem
from pipeline.images.ready import ImageRow, PixelOptions, ReadyImage, begin, finish, ready
from pipeline.images.source import ImageSource
from schemas.errors import PipelineError
from schemas.fit import Fit
from schemas.status import ImageStatus

pytestmark = pytest.mark.filterwarnings("ignore:.*decoding and encoding:DeprecationWarning")  # torchvision 0.29's

BY_PILLOW = PixelOptions("exif", 2_000_000, Fit((64, 64)))
ON_DEVICE = replace(BY_PILLOW, jpeg_device="cpu")
ORIENTATION = 0x0112


def noise(mode: str = "RGB") -> Image.Image:
    image = Image.effect_noise((90, 70), 60).convert("RGB")
    image.paste("red", (3, 3, 50, 40))
    return image.convert(mode)


def encoded(mode: str = "RGB", **options: object) -> bytes:
    buffer = BytesIO()
    noise(mode).save(buffer, options.pop("format", "JPEG"), **options)
    return buffer.getvalue()


def turned(tag: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    return encoded(exif=exif.tobytes())


def row(data: bytes) -> ImageRow:
    return ImageRow("a.jpg", ImageStatus.OK, None, ImageSource(data), None)


def together(files: list[bytes]) -> list[ReadyImage]:
    return finish([begin(row(data), ON_DEVICE) for data in files], ON_DEVICE)


@pytest.mark.parametrize(
    "data", [encoded(), encoded("L"), encoded(progressive=True), encoded(subsampling=0, quality=95), turned(1)]
)
def test_an_ordinary_upright_jpeg_is_for_the_device_and_nearly_equals_pillows(data: bytes) -> None:
    waiting = begin(row(data), ON_DEVICE)
    (found,) = finish([waiting], ON_DEVICE)
    expected = ready(row(data), BY_PILLOW)

    assert waiting.jpeg == data
    assert found.status == ImageStatus.OK
    assert found.pixels is not None
    assert (found.pixels.shape, found.pixels.dtype, found.jpeg) == ((64, 64, 3), np.uint8, None)
    assert np.abs(found.pixels.astype(int) - expected.pixels).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        encoded("CMYK"), encoded(keep_rgb=True), encoded(format="PNG"), encoded(format="WEBP"), turned(6),
        encoded(format="MPO", save_all=True, append_images=[noise()]), encoded() + b"more", encoded()[:-300],
        encoded(format="GIF", save_all=True, append_images=[Image.new("RGB", (90, 70))]), b"", b"no image",
    ],
)  # fmt: skip
def test_everything_else_takes_pillows_way(data: bytes) -> None:
    found, expected = begin(row(data), ON_DEVICE), ready(row(data), BY_PILLOW)

    assert found.jpeg is None
    assert (found.status, found.error) == (expected.status, expected.error)
    assert np.array_equal(found.pixels, expected.pixels)


@pytest.mark.parametrize("data", [encoded(), turned(6)])
def test_the_whole_picture_is_kept_on_request_upright_and_by_pillow(data: bytes) -> None:
    for options in (BY_PILLOW, ON_DEVICE):
        (found,) = finish([begin(row(data), replace(options, keep_picture=True))], options)
        assert found.picture is not None
        assert np.array_equal(found.picture, decode(data, "exif", None, 9999))
        assert np.array_equal(found.pixels, ready(row(data), options).pixels)
        assert ready(row(data), options).picture is None


def test_whether_a_jpeg_stands_upright_is_a_matter_of_the_setting() -> None:
    assert not suits_device(turned(6), "exif", 90, 9999)
    assert suits_device(turned(6), "none", 90, 9999)
    assert [suits_device(turned(6), "dataset", turn, 9999) for turn in (None, 0, 90)] == [True, True, False]


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(ImageProblem, match="90 x 70 = 6300 pixels, more than"):
        suits_device(encoded(), "exif", None, 6299)


def test_photographs_lie_within_1_of_255_of_pillows_pixels() -> None:
    files = [photograph(seed) for seed in range(3)]

    for found, data in zip(together(files), files, strict=True):
        expected = ready(row(data), BY_PILLOW)
        difference = np.abs(found.pixels.astype(int) - expected.pixels)
        assert difference.max() <= 1
        assert difference.mean() < 0.2


def test_the_middle_of_a_photograph_lies_near_pillows() -> None:
    fit = Fit((64, 64), "bicubic", (73, 73))
    found, expected = (
        ready(row(photograph(0)), replace(how, fit=fit)).pixels.astype(int) for how in (ON_DEVICE, BY_PILLOW)
    )

    assert np.abs(found - expected).mean() < 1.5  # it begins at a whole pixel of the JPEG


def test_broken_files_have_pillows_status_and_cost_no_neighbour_its_pixels() -> None:
    rng = random.Random(0)
    plain = [encoded(), encoded("L"), encoded(progressive=True), encoded("CMYK"), encoded(restart_marker_blocks=4)]
    files = []
    for number in range(240):
        data = bytearray(plain[number % len(plain)])
        for _ in range(rng.choice((0, 1, 8))):
            data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
        cut = rng.choice((len(data), len(data), len(data), rng.randrange(len(data))))
        files.append(bytes(data[:cut]) + b"\xff\xd9" * rng.randrange(2))

    found, expected = together(files), [ready(row(data), BY_PILLOW) for data in files]

    assert len({one.status for one in found}) > 2
    assert [(one.status, one.error) for one in found] == [(one.status, one.error) for one in expected]
    for one, other, data in zip(found, expected, files, strict=True):
        if one.pixels is not None:
            assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1
            assert np.array_equal(one.pixels, ready(row(data), ON_DEVICE).pixels)


def test_what_the_decoder_refuses_is_named_by_its_place_alone() -> None:
    good = encoded()

    found = decode_on_device([good, b"\xff\xd8no", good, good[:20], good], Fit((8, 8)), "cpu")

    assert [pixels is None for pixels in found] == [False, True, False, True, False]


@pytest.mark.skipif(torch.cuda.is_available(), reason="it decodes there")
def test_a_device_where_nothing_is_decoded_is_an_error_and_not_pillows_pixels_in_silence() -> None:
    with pytest.raises(PipelineError, match=r"torchvision decodes no JPEG on cuda here .* extract.decoder=pillow"):
        decode_on_device([encoded()], Fit((8, 8)), "cuda")


def test_each_device_has_a_name_of_its_own() -> None:
    assert decoder(None) == "pillow"
    assert decoder("cuda:1") == decoder("cuda") == "torchvision on cuda (upright JPEGs), else pillow"
    assert decoder("cpu") != decoder("cuda")


def test_odd_jpegs_and_photographs_have_pillows_status(shared: Path) -> None:
    files = [
        path.read_bytes() for part in ("odd", "photos") for path in sorted((shared / "data" / part).rglob("*.jp*g"))
    ]
    files = files[:40] + files[40::6]

    expected = [ready(row(data), BY_PILLOW) for data in files]

    assert [(one.status, one.error) for one in together(files)] == [(one.status, one.error) for one in expected]
