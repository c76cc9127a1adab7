"""Decoding: equal to Pillow's own conversion, upright, strict, and never another exception than its own."""

import random
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.images.decode import decode
from pipeline.images.problem import ImageProblem
from schemas.status import ImageStatus

LIMIT = 1_000_000
ORIENTATION = 0x0112


def picture() -> Image.Image:
    """Each quarter has a colour of its own, and no two sides are equal."""
    image = Image.new("RGB", (48, 32), "white")
    image.paste("red", (0, 0, 24, 16))
    image.paste("green", (24, 0, 48, 16))
    image.paste("blue", (0, 16, 24, 32))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"),
     ("P", "GIF"), ("RGB", "BMP"), ("RGB", "TIFF"), ("RGBA", "WEBP"), ("RGB", "JPEG2000")],
)  # fmt: skip
def test_every_mode_comes_out_as_pillow_converts_it(mode: str, kind: str) -> None:
    data = encoded(picture().convert(mode), kind)

    found = decode(data, "exif", None, LIMIT)

    assert found.mode == "RGB"
    assert np.array_equal(pixels(found), pixels(Image.open(BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_exif_tag_turns_the_picture_upright(tag: int, kind: str) -> None:
    turns = [
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
    ]
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    data = encoded(picture(), kind, exif=exif.tobytes())
    stored = Image.open(BytesIO(data)).convert("RGB")
    turn = turns[tag - 1]

    assert np.array_equal(
        pixels(decode(data, "exif", 90, LIMIT)), pixels(stored if turn is None else stored.transpose(turn))
    )
    assert np.array_equal(pixels(decode(data, "none", 90, LIMIT)), pixels(stored))


@pytest.mark.parametrize(("rotation", "quarter_turns"), [(None, 0), (0, 0), (90, 1), (180, 2), (270, 3)])
def test_the_data_sets_rotation_is_counter_clockwise(rotation: int | None, quarter_turns: int) -> None:
    found = decode(encoded(picture(), "PNG"), "dataset", rotation, LIMIT)

    assert np.array_equal(pixels(found), np.rot90(pixels(picture()), quarter_turns))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    other = Image.new("RGB", (48, 32), "black")
    data = encoded(picture(), kind, save_all=True, append_images=[other], **lossless)

    assert np.array_equal(pixels(decode(data, "exif", None, LIMIT)), pixels(picture()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_file_cut_in_the_middle_is_a_decode_error_or_no_image(kind: str) -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    data = encoded(noise, kind)

    with pytest.raises(ImageProblem) as caught:
        decode(data[: len(data) // 2], "exif", None, LIMIT)

    whole = kind == "WEBP"  # its reader wants all of the file before it says anything
    assert caught.value.status is (ImageStatus.NOT_AN_IMAGE if whole else ImageStatus.DECODE_ERROR)


def test_too_many_pixels_are_not_decoded() -> None:
    with pytest.raises(ImageProblem, match="48 x 32 = 1536 pixels") as caught:
        decode(encoded(picture(), "PNG"), "exif", None, 1535)
    assert caught.value.status is ImageStatus.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "ICO", "TGA"])
def test_changed_bytes_give_an_image_or_a_problem_and_nothing_else(kind: str) -> None:
    rng = random.Random(0)
    exif = (
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"} if kind == "JPEG" else {}
    )
    data = encoded(picture(), kind, **exif)
    outcomes = set()
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 2, 8))):
            changed[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
        try:
            outcomes.add(decode(bytes(changed), "exif", None, LIMIT).mode)
        except ImageProblem as problem:
            outcomes.add(problem.status)

    assert outcomes <= {"RGB", ImageStatus.NOT_AN_IMAGE, ImageStatus.DECODE_ERROR, ImageStatus.TOO_MANY_PIXELS}
    assert len(outcomes) > 1


def gradient() -> np.ndarray:
    """64 levels of 16-bit grey, from 0 to 65,535."""
    return np.tile(np.linspace(0, 65_535, 64).round().astype(np.uint16), (48, 1))


def grey16(kind: str) -> bytes:
    if kind == "PGM":
        return b"P5 64 48 65535\n" + gradient().astype(">u2").tobytes()
    if kind == "big-endian TIFF":
        return encoded(Image.frombytes("I;16B", (64, 48), gradient().astype(">u2").tobytes()), "TIFF")
    if kind == "white is zero":
        image = Image.fromarray(65_535 - gradient())
        return encoded(image, "TIFF", tiffinfo={262: 0})
    return encoded(Image.fromarray(gradient()), kind)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF", "white is zero", "JPEG2000", "PGM"])
def test_16_bit_grey_is_scaled_whatever_the_container(kind: str) -> None:
    found = pixels(decode(grey16(kind), "exif", None, LIMIT))

    assert found.shape == (48, 64, 3)
    assert np.abs(found[:, :, 0].astype(int) - np.round(gradient() / 257)).max() == 0


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), "TIFF"),
        encoded(Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8)), "TIFF"),
        b"Pf\n8 8\n-1.0\n" + np.linspace(0, 1, 64, dtype="<f4").tobytes(),
    ],
    ids=["fractions", "32-bit numbers", "PFM"],
)
def test_pixels_of_which_nobody_knows_what_is_white_are_no_image_that_can_be_used(data: bytes) -> None:
    with pytest.raises(ImageProblem, match="nobody knows which one is white") as caught:
        decode(data, "exif", None, LIMIT)
    assert caught.value.status is ImageStatus.UNKNOWN_RANGE


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_cut_off_anywhere_is_whole_where_no_pixel_is_missing_and_else_broken(
    mode: str, options: dict[str, object]
) -> None:
    noise = Image.effect_noise((40, 24), 90).convert(mode)
    data = encoded(noise, "JPEG", quality=70, **options)
    whole, outcomes = pixels(decode(data, "exif", None, LIMIT)), []
    for length in range(len(data), len(data) - 60, -1):
        try:
            outcomes.append(np.array_equal(pixels(decode(data[:length], "exif", None, LIMIT)), whole))
        except ImageProblem as problem:
            outcomes.append(problem.status)

    filled = decode(data.removesuffix(b"\xff\xd9") + b"\xff" * 9, "exif", None, LIMIT)
    assert np.array_equal(pixels(filled), whole)  # a marker may begin with any number of these
    assert outcomes[:3] == [True, True, True]  # whole, half an end marker, none
    assert outcomes.count(ImageStatus.DECODE_ERROR) > 40
    assert set(outcomes) == {True, ImageStatus.DECODE_ERROR}


def test_a_progressive_jpeg_without_its_last_scans_is_broken() -> None:
    data = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")

    with pytest.raises(ImageProblem, match="truncated"):
        decode(data[: data.rindex(b"\xff\xc4", 0, last_scan)], "exif", None, LIMIT)
