"""Real files, odd and ordinary: each gives an image or a problem."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.files.damages import DAMAGES
from pipeline.images.decode import decode
from pipeline.images.header import inspect
from pipeline.images.problem import ImageProblem
from pipeline.images.ready import ImageRow, PixelOptions, ready
from pipeline.images.resize import resize
from pipeline.images.source import ImageSource
from pipeline.stages import download
from schemas.config import DownloadConfig
from schemas.fit import Fit
from schemas.status import ImageStatus

LIMIT = 100_000_000
IMAGES = {".jpg", ".jpeg", ".png"}


def outcome(path: Path) -> str:
    try:
        return (
            resize(decode(path.read_bytes(), "exif", None, LIMIT), Fit((64, 64))).shape == (64, 64, 3)
            and ImageStatus.OK
        )
    except ImageProblem as problem:
        return problem.status if str(problem) else "no text"


def problem_of(function: Callable[..., object], *arguments: object) -> ImageStatus | None:
    try:
        function(*arguments)
    except ImageProblem as problem:
        return problem.status
    return None


def test_every_odd_file_gives_an_image_or_a_named_problem(shared: Path) -> None:
    files = [path for path in sorted((shared / "data/odd").rglob("*")) if path.is_file()]

    counts = Counter(outcome(path) for path in files)

    assert counts.total() == len(files) > 0
    assert set(counts) == {
        ImageStatus.OK,
        ImageStatus.EMPTY,
        ImageStatus.NOT_AN_IMAGE,
        ImageStatus.TOO_MANY_PIXELS,
        ImageStatus.DECODE_ERROR,
        ImageStatus.UNKNOWN_RANGE,
    }


def status_by_pillow(path: Path) -> ImageStatus:
    """What Pillow makes of a file, with no limit of its own."""
    if not path.stat().st_size:
        return ImageStatus.EMPTY
    status = ImageStatus.NOT_AN_IMAGE
    try:
        with Image.open(path) as image:
            if image.width * image.height > LIMIT:
                return ImageStatus.TOO_MANY_PIXELS
            status = ImageStatus.DECODE_ERROR
            image.convert("RGB")
    except DAMAGES:
        return status
    return ImageStatus.OK


@pytest.mark.filterwarnings("ignore")
def test_download_and_extraction_give_an_odd_file_the_status_that_pillow_leads_to(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, pixels = DownloadConfig(max_pixels=LIMIT), PixelOptions("exif", LIMIT, Fit((64, 64)))
    found = {}
    for path in sorted((shared / "data/odd").rglob("*")):
        if path.is_file():
            checked = download._check_file(str(path), limits, inspect)
            source = ImageSource(None, str(path), checked.size_bytes, checked.sha256)
            found[path] = ready(ImageRow(path.name, checked.status, checked.error, source, None), pixels).status
    with monkeypatch.context() as context:
        context.setattr(Image, "MAX_IMAGE_PIXELS", None)
        expected = {path: status_by_pillow(path) for path in found}

    assert len(found) > 50
    differ = {path.name: found[path] for path in found if found[path] != expected[path]}
    # Pillow wants the animation of the first sound, and takes signed numbers for colours.
    assert differ == {"chunk_no_fctl.png": ImageStatus.OK, "16bit.s.tif": ImageStatus.UNKNOWN_RANGE}


def test_an_odd_file_gives_the_pixels_of_pillows_conversion_of_its_first_frame_or_pillow_refuses_it_too(
    shared: Path,
) -> None:
    for path in sorted((shared / "data/odd").rglob("*")):
        if not path.is_file() or (ours := outcome(path)) == ImageStatus.TOO_MANY_PIXELS:
            continue
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
                if image.mode.startswith("I"):  # Pillow clips what we scale
                    continue
                expected = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
        except DAMAGES:
            assert ours != ImageStatus.OK or path.name == "chunk_no_fctl.png", path
            continue
        assert ours == ImageStatus.OK, path
        found = resize(decode(path.read_bytes(), "none", None, LIMIT), Fit((64, 64)))
        assert np.abs(found.astype(int) - expected).max() <= 1, path


def test_a_header_problem_is_the_same_before_and_while_decoding(shared: Path) -> None:
    for path in (shared / "data/odd").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            before = problem_of(inspect, data, LIMIT)
            assert before in (None, problem_of(decode, data, "none", None, LIMIT)), path


def test_photographs_equal_pillows_own_conversion(shared: Path) -> None:
    files = [path for path in sorted((shared / "data/photos").rglob("*")) if path.suffix.lower() in IMAGES]
    for path in files[::6]:
        with Image.open(path) as image:
            expected = ImageOps.exif_transpose(image).convert("RGB")
        assert np.array_equal(np.asarray(decode(path.read_bytes(), "exif", None, LIMIT)), np.asarray(expected)), path


def test_one_photograph_in_four_orientations_comes_out_alike(shared: Path) -> None:
    files = sorted((shared / "data/photos/exif_orientation").glob("Landscape_*"))
    small = [resize(decode(path.read_bytes(), "exif", None, LIMIT), Fit((16, 16))).astype(float) for path in files]

    assert len(files) == 4
    for other in small[1:]:
        assert np.abs(other - small[0]).mean() < 3  # of 255: each was compressed by itself
