"""Decoding in processes of their own: equal to decoding here, and an image that kills its process costs itself."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.children import decoding_children, inspecting_children
from pipeline.images.header import Header
from pipeline.images.problem import ImageProblem
from pipeline.images.ready import ImageRow, PixelOptions, ready
from pipeline.images.source import ImageSource
from schemas.fit import Fit
from schemas.status import ImageStatus

OPTIONS = PixelOptions("exif", 100_000, Fit((16, 16)))
FAULTS = Path(__file__).resolve().parents[2] / "faults"


def jpeg(colour: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def on_disk(path: Path, data: bytes) -> ImageRow:
    path.write_bytes(data)
    source = ImageSource(None, str(path), len(data), hashlib.sha256(data).hexdigest())
    return ImageRow(path.name, ImageStatus.OK, None, source, None)


def test_children_answer_as_this_process_would(tmp_path: Path) -> None:
    rows = [
        ImageRow("red", ImageStatus.OK, None, ImageSource(jpeg("red")), None),
        ImageRow("cut", ImageStatus.OK, None, ImageSource(jpeg("red")[:-200]), None),
        ImageRow("gone", ImageStatus.NOT_FOUND, "HTTP 404", ImageSource(None), None),
        on_disk(tmp_path / "blue.jpg", jpeg("blue")),
    ]

    with decoding_children(2, OPTIONS) as elsewhere, ThreadPoolExecutor(2) as pool:
        found = list(pool.map(elsewhere, rows))

    for one, expected in zip(found, (ready(row, OPTIONS) for row in rows), strict=True):
        assert (one.image_id, one.status, one.error) == (expected.image_id, expected.status, expected.error)
        assert np.array_equal(one.pixels, expected.pixels)


def test_children_look_at_headers_as_this_process_would() -> None:
    with inspecting_children(2) as elsewhere, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(elsewhere, [jpeg("red"), jpeg("blue")], [9999, 9999])) == [Header("JPEG", 40, 30)] * 2
        for data, status in ((b"", "empty"), (b"no picture", "not_an_image"), (jpeg("red"), "too_many_pixels")):
            with pytest.raises(ImageProblem) as problem:
                elsewhere(data, 999)
            assert problem.value.status == status


def test_bytes_whose_header_kills_its_process_are_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAULTS), prepend=os.pathsep)
    monkeypatch.setenv("BIAM_PIPE_TEST_HEADER_KILLER", "deadly header")
    with inspecting_children(1) as elsewhere:
        with pytest.raises(ImageProblem, match=r"broken header: its reader died \(signal 11\)") as problem:
            elsewhere(b"GIF89a deadly header", 999)
        assert problem.value.status == ImageStatus.NOT_AN_IMAGE
        assert elsewhere(jpeg("red"), 9999).format == "JPEG"


def test_an_image_that_kills_its_process_is_a_decode_error_and_those_after_it_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAULTS), prepend=os.pathsep)
    monkeypatch.setenv("BIAM_PIPE_TEST_KILLER", "killer")
    rows = [on_disk(tmp_path / f"{name}.jpg", jpeg("red")) for name in ("first", "killer", "third", "killer2", "fifth")]

    with decoding_children(1, OPTIONS) as elsewhere:
        found = [elsewhere(row) for row in rows]

    assert [one.status for one in found] == ["ok", "decode_error", "ok", "decode_error", "ok"]
    assert found[1].error == found[3].error == "decoder died (signal 11)"
