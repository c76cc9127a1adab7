"""Decoding in processes of their own: equal to decoding here, and an image that kills its process costs itself."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.children import decoding_children
from pipeline.images.ready import ImageRow, PixelOptions, ready
from pipeline.images.source import ImageSource
from schemas.status import ImageStatus

OPTIONS = PixelOptions("exif", 100_000, 16)
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
